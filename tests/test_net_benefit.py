"""Decision curves against the figures of the published tutorial and of the package dcurves."""

import numpy as np
import pytest

from eusml.evaluation.net_benefit import net_benefit, net_benefit_band
from tests.conftest import answers

# The 750 cases of https://mskcc-epi-bio.github.io/decisioncurveanalysis/, model cancerpredmarker, 105 cancers: of every
# threshold true and false positives, and the net benefit that dcurves 1.1.7 gives.
TUTORIAL = {
    0.05: (96, 320, 0.105544),
    0.10: (87, 193, 0.087407),
    0.15: (82, 128, 0.079216),
    0.20: (75, 98, 0.067333),
    0.25: (72, 72, 0.064000),
    0.35: (57, 36, 0.050154),
    0.50: (33, 17, 0.021333),
}


@pytest.mark.parametrize(("threshold", "figures"), TUTORIAL.items())
def test_the_published_example(threshold: float, figures: tuple[int, int, float]) -> None:
    tp, fp, expected = figures
    y_true = np.repeat([1, 0], [105, 645])
    y_score = np.full(750, 0.0)
    y_score[:tp] = 0.9
    y_score[105 : 105 + fp] = 0.9
    row = net_benefit(y_true, y_score, np.array([threshold])).iloc[0]
    assert row["model"] == pytest.approx(expected, abs=1e-6)
    assert row["everybody"] == pytest.approx(0.14 - 0.86 * threshold / (1 - threshold))
    assert row["nobody"] == 0


def test_it_gives_what_dcurves_gives() -> None:
    y_score = np.array([0.71, 0.19, 0.38, 0.59, 0.21, 0.66, 0.01, 0.65, 0.13, 0.99, 0.35, 0.63, 0.24, 0.57, 0.09, 0.62,
                        0.4, 0.65, 0.49, 0.66, 0.3, 0.99, 0.41, 0.6])  # fmt: skip
    found = net_benefit(np.arange(24) % 2, y_score, np.array([0.1, 0.3, 0.5, 0.7]))
    np.testing.assert_allclose(found["model"], [0.4537037037, 0.3333333333, 0.4166666667, -0.0138888889])
    np.testing.assert_allclose(found["everybody"], [0.4444444444, 0.2857142857, 0, -0.6666666667], atol=1e-12)


def test_the_band_holds_the_curve() -> None:
    table = answers(3, 60)
    band = net_benefit_band(*(table[name].to_numpy() for name in ("y_true", "y_score", "patient_id")), 0.95, 200)
    assert (band["model_low"] <= band["model"] + 1e-12).all()
    assert (band["model"] <= band["model_high"] + 1e-12).all()
    assert (band["model_high"] - band["model_low"]).max() > 0.05
