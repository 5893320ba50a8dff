"""The study's own result, recomputed from its counts, beside the intervals it says that it prints.

Source: Guo, Zhu, Huang, Liu, Hu, *Value of deep learning technology for the differential diagnosis of endoscopic
ultrasonography images of gastrointestinal stromal tumors and leiomyomas*. The images are private, the counts are not.
"""

import pandas as pd

from eusml.config import IntervalMethod
from eusml.evaluation.intervals import proportion_interval

CONFIDENCE = 0.95
COUNTS = {
    "sensitivity": (12, 14),
    "specificity": (14, 15),
    "ppv": (12, 13),
    "npv": (14, 16),
    "accuracy": (26, 29),
}
"""ResNet-34, augmented, 200 epochs, on the study's 29 images: 2 GIST called leiomyoma, 1 leiomyoma called GIST."""

PRINTED = {
    "sensitivity": (85.71, 67.38, 100.00),
    "specificity": (93.33, 80.71, 100.00),
    "ppv": (92.31, 77.82, 100.00),
    "npv": (87.50, 71.30, 100.00),
    "accuracy": (89.66, 78.57, 100.00),
}
"""As printed, in per cent: value, low, high."""

SENTENCE = (
    "The paper calls its intervals adjusted Wald; what it prints is the plain Wald interval clipped to 100, which at "
    "n = 14 covers a true proportion of 0.91 only about 73 % of the time instead of 95 %."
)

_METHODS: tuple[IntervalMethod, ...] = ("wald", "adjusted_wald", "wilson")
_RUNS = (
    ("ResNet-34, no augmentation", 113, 100, 0.45, 0.81),
    ("ResNet-34, augmented", 678, 100, 0.08, 0.85),
    ("ResNet-34, augmented", 678, 200, 0.10, 0.89),
    ("ResNet-50, augmented", 678, 200, 0.04, 0.81),
)


def paper_table() -> pd.DataFrame:
    """One row per measure, in per cent.

    Returns:
        Columns measure, count, total, value, printed_low, printed_high and, recomputed to full precision, `_low` and
        `_high` of wald, adjusted_wald and wilson.
    """
    rows = []
    for measure, (count, total) in COUNTS.items():
        _, printed_low, printed_high = PRINTED[measure]
        row: dict[str, object] = {"measure": measure, "count": count, "total": total, "value": 100 * count / total}
        row |= {"printed_low": printed_low, "printed_high": printed_high}
        for method in _METHODS:
            low, high = proportion_interval(count, total, method, CONFIDENCE)
            row |= {f"{method}_low": 100 * low, f"{method}_high": 100 * high}
        rows.append(row)
    return pd.DataFrame(rows)


def paper_runs() -> pd.DataFrame:
    """The study's four trainings: run, train_images, epochs, train_loss, validation_accuracy (read off its curves)."""
    return pd.DataFrame(_RUNS, columns=["run", "train_images", "epochs", "train_loss", "validation_accuracy"])


def paper_markdown() -> str:
    """Result, what is to be known of its intervals, and the four trainings, for people."""
    lines = [
        "## The study's result: ResNet-34 on its 29 private images",
        "",
        "| measure | count | % | printed 95 % CI | plain Wald | adjusted Wald | Wilson |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in paper_table().to_dict("records"):
        cells = [f"{row[f'{name}_low']:.2f} - {row[f'{name}_high']:.2f}" for name in ("printed", *_METHODS)]
        name = row["measure"].upper() if row["measure"] in ("ppv", "npv") else row["measure"]
        lines.append(f"| {name} | {row['count']}/{row['total']} | {row['value']:.2f} | {' | '.join(cells)} |")
    lines += [
        "",
        SENTENCE,
        "",
        "## Its four trainings",
        "",
        "| run | training images | epochs | training loss tends to | validation accuracy tends to |",
        "|---|---|---|---|---|",
    ]
    for run in paper_runs().to_dict("records"):
        loss, accuracy = f"{run['train_loss']:.2f}", f"{run['validation_accuracy']:.2f}"
        lines.append(f"| {run['run']} | {run['train_images']} | {run['epochs']} | {loss} | {accuracy} |")
    lines += ["", "The study chose between the four on the same 29 images that it reports; `eusml` does not."]
    return "\n".join(lines) + "\n"
