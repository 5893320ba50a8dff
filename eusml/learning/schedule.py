"""Learning rate of every step: a pure function, so there is no scheduler to save."""

import math

from eusml.config import TrainConfig

_ONECYCLE_START_DIVISOR = 25.0
_FINAL_DIVISOR = 1e4


def learning_rate(settings: TrainConfig, step: int, total: int) -> float:
    """Learning rate of step `step` of `total`, both counted from 0.

    `onecycle` is Smith and Topin 2019 (doi:10.1117/12.2520589) with cosine flanks; `cosine` is Loshchilov and
    Hutter 2017 (arXiv:1608.03983) without restarts.
    """
    warmup = round(settings.warmup_frac * total) if settings.schedule == "onecycle" else 0
    if step < warmup:
        low = settings.lr / _ONECYCLE_START_DIVISOR
        return low + (settings.lr - low) * _cosine_rise(step / warmup)
    low = settings.lr / _FINAL_DIVISOR
    return settings.lr - (settings.lr - low) * _cosine_rise((step - warmup) / max(total - 1 - warmup, 1))


def _cosine_rise(share: float) -> float:
    """0 at 0, 1 at 1, flat at both ends."""
    return (1.0 - math.cos(math.pi * min(share, 1.0))) / 2.0
