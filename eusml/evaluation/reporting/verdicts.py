"""What a pair of networks may be said to differ in: in any language, from what the comparison recorded."""

import math
from collections.abc import Mapping
from typing import Any

from eusml.evaluation.power import POWER
from eusml.evaluation.reporting.words import Words, number, p_value, signed


def order(pair: Mapping[str, Any], measure: str) -> str:
    """`a` or `b`, which is better, or why neither can be said to be: `undefined`, `zero`, `test` or `pairs`.

    As `PairedResult.sentence` has it: an order only where interval, test and the test among all pairs agree.

    Args:
        pair: fields of `PairedResult`; what is undefined may be None, as JSON has it.
        measure: `accuracy` or `auroc`.
    """
    low, high, p, p_holm = (_number(pair[f"{measure}_{name}"]) for name in ("low", "high", "p", "p_holm"))
    if math.isnan(low):
        return "undefined"
    if low <= 0.0 <= high:
        return "zero"
    if not p < 1 - pair["confidence"]:
        return "test"
    if not p_holm < 1 - pair["confidence"]:
        return "pairs"
    return "a" if low > 0 else "b"


def sentence(pair: Mapping[str, Any], part: str, w: Words) -> str:
    """What the cases say about two networks, and what they could have shown."""
    texts = {}
    for measure in ("accuracy", "auroc"):
        verdict = order(pair, measure)
        better = pair["arm_a"] if verdict == "a" else pair["arm_b"]
        key = "better" if verdict in "ab" else verdict
        texts[measure] = w(f"pairs.{key}", arm=better, measure=w.measure(measure))
    smallest = [
        w(
            "pairs.none_visible" if math.isnan(value) else "pairs.visible",
            measure=w.measure(measure),
            value=number(math.ceil(100 * value) / 100, 2) if not math.isnan(value) else "",
        )
        for measure in ("accuracy", "auroc")
        for value in [_number(pair[f"smallest_{measure}_difference"])]
    ]
    told = any(order(pair, measure) in "ab" for measure in ("accuracy", "auroc"))
    return w(
        "pairs.sentence",
        a=pair["arm_a"],
        b=pair["arm_b"],
        part=part,
        cases=pair["cases"],
        only_a=pair["only_a_right"],
        only_b=pair["only_b_right"],
        accuracy_difference=difference(pair, "accuracy"),
        accuracy_p=p_value(_number(pair["accuracy_p"])),
        accuracy=texts["accuracy"],
        auroc_difference=difference(pair, "auroc"),
        auroc_p=p_value(_number(pair["auroc_p"])),
        auroc=texts["auroc"],
        visible=w.joined(smallest),
        power=POWER,
        level=f"{pair['level']:.2g}",
    ) + ("" if told else w("pairs.absence"))


def difference(pair: Mapping[str, Any], measure: str) -> str:
    """`+0.103 (-0.100; +0.294)`."""
    return signed(*(_number(pair[f"{measure}_{name}"]) for name in ("difference", "low", "high")))


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
