"""What may be said of a pair of networks, in any language."""

import math

from eusml.evaluation.comparison import PAIRED_MEASURES, PairedMeasure, PairedResult
from eusml.evaluation.power import POWER
from eusml.evaluation.reporting.words import Words, number, p_value, signed


def sentence(pair: PairedResult, part: str, w: Words) -> str:
    """What the cases say about two networks, and what they could have shown."""
    better = {measure: pair.better(measure) for measure in PAIRED_MEASURES}
    texts = {
        measure: w(f"pairs.{'better' if arm else pair.order(measure)}", arm=arm, measure=w.measure(measure))
        for measure, arm in better.items()
    }
    return w(
        "pairs.sentence",
        a=pair.arm_a,
        b=pair.arm_b,
        part=part,
        cases=pair.cases,
        only_a=pair.only_a_right,
        only_b=pair.only_b_right,
        accuracy_difference=difference(pair, "accuracy"),
        accuracy_p=p_value(pair.accuracy_p),
        accuracy=texts["accuracy"],
        auroc_difference=difference(pair, "auroc"),
        auroc_p=p_value(pair.auroc_p),
        auroc=texts["auroc"],
        visible=w.joined([_visible(pair, measure, w) for measure in PAIRED_MEASURES]),
        power=POWER,
        level=f"{pair.level:.2g}",
    ) + ("" if any(better.values()) else w("pairs.absence"))


def _visible(pair: PairedResult, measure: PairedMeasure, w: Words) -> str:
    value = smallest(pair, measure)
    return w("pairs.none_visible" if value == "–" else "pairs.visible", measure=w.measure(measure), value=value)


def smallest(pair: PairedResult, measure: PairedMeasure) -> str:
    """The smallest difference that could have been seen, rounded up, for a smaller one could not; or a dash."""
    value: float = getattr(pair, f"smallest_{measure}_difference")
    return "–" if math.isnan(value) else number(math.ceil(100 * value) / 100, 2)


def difference(pair: PairedResult, measure: PairedMeasure) -> str:
    """`+0.103 (-0.100; +0.294)`."""
    return signed(*(getattr(pair, f"{measure}_{name}") for name in ("difference", "low", "high")))
