import numpy as np
from scipy.stats import binom

from eusml.evaluation.intervals import proportion_interval
from eusml.evaluation.paper import COUNTS, PRINTED, paper_markdown, paper_runs, paper_table

ADJUSTED_WALD = {
    "sensitivity": (58.81, 97.24),
    "specificity": (68.16, 100.00),
    "ppv": (64.58, 100.00),
    "npv": (62.72, 97.76),
    "accuracy": (72.81, 97.22),
}
WILSON = {
    "sensitivity": (60.06, 95.99),
    "specificity": (70.18, 98.81),
    "ppv": (66.69, 98.63),
    "npv": (63.98, 96.50),
    "accuracy": (73.61, 96.42),
}


def test_the_printed_digits_are_plain_wald_and_not_adjusted_wald() -> None:
    table = paper_table().set_index("measure")
    assert list(table.index) == list(PRINTED) == list(COUNTS)
    for measure, printed in PRINTED.items():
        row = table.loc[measure].astype(float).round(2)
        assert (row["value"], row["wald_low"], row["wald_high"]) == printed
        assert (row["printed_low"], row["printed_high"]) == printed[1:]
        assert (row["adjusted_wald_low"], row["adjusted_wald_high"]) == ADJUSTED_WALD[measure]
        assert (row["wilson_low"], row["wilson_high"]) == WILSON[measure]
        assert row["adjusted_wald_low"] < printed[1] - 5


def test_the_counts_belong_to_one_confusion_table() -> None:
    (tp, positive), (tn, negative) = COUNTS["sensitivity"], COUNTS["specificity"]
    assert COUNTS["ppv"] == (tp, tp + negative - tn)
    assert COUNTS["npv"] == (tn, tn + positive - tp)
    assert COUNTS["accuracy"] == (tp + tn, positive + negative)


def test_the_text_says_what_is_wrong_with_the_printed_intervals_and_it_is_so() -> None:
    text = paper_markdown()
    assert "calls its intervals adjusted Wald; what it prints is the plain Wald interval clipped to 100" in text
    assert "| sensitivity | 12/14 | 85.71 | 67.38 - 100.00 | 67.38 - 100.00 | 58.81 - 97.24 | 60.06 - 95.99 |" in text
    bounds = [proportion_interval(count, 14, "wald", 0.95) for count in range(15)]
    inside = np.array([low <= 0.91 <= high for low, high in bounds])
    coverage = binom.pmf(np.arange(15), 14, 0.91)[inside].sum()
    assert f"0.91 only about {100 * coverage:.0f} %" in text


def test_the_four_trainings_are_the_studys() -> None:
    assert paper_runs().to_dict("list") == {
        "run": [
            "ResNet-34, no augmentation",
            "ResNet-34, augmented",
            "ResNet-34, augmented",
            "ResNet-50, augmented",
        ],
        "train_images": [113, 678, 678, 678],
        "epochs": [100, 100, 200, 200],
        "train_loss": [0.45, 0.08, 0.10, 0.04],
        "validation_accuracy": [0.81, 0.85, 0.89, 0.81],
    }
    assert "| ResNet-34, augmented | 678 | 200 | 0.10 | 0.89 |" in paper_markdown()
