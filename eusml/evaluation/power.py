"""The smallest difference that a comparison could have seen: what was not seen may still be there below it."""

import math

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom, norm

POWER = 0.8
"""Chance of seeing the difference that is called the smallest one."""


def mcnemar_power(cases: int, difference: float, discordant_share: float, level: float) -> float:
    """Chance that the exact McNemar test tells two arms apart; summed over all outcomes, nothing is simulated.

    The number of discordant cases is binomial, and so is the number of those that the better arm has right (Duffy
    1984, *Asymptotic and exact power for the McNemar test and its analogue with R controls per case*, Biometrics 40).

    Args:
        cases: independent cases.
        difference: true difference of accuracy, 0 to `discordant_share`.
        discordant_share: true share of cases that exactly one of the two has right, at most 1.
        level: the two-sided p value must be below this.
    """
    if discordant_share == 0:
        return 0.0
    discordant = np.arange(cases + 1)
    # Of d discordant cases, at most this many may speak for one side: P(X <= most) < level / 2 under evenness.
    most = binom.ppf(level / 2, discordant, 0.5) - 1
    better = min((1 + difference / discordant_share) / 2, 1.0)
    seen = binom.cdf(most, discordant, better) + binom.sf(discordant - most - 1, discordant, better)
    return float(binom.pmf(discordant, cases, discordant_share) @ seen)


def smallest_accuracy_difference(cases: int, discordant_share: float, level: float, power: float = POWER) -> float:
    """Smallest true difference of accuracy that the exact McNemar test sees with the asked power; nan if none is.

    The true share of discordant cases is taken to be the observed one, or the difference itself where that is larger:
    two accuracies cannot differ by more than the share of cases on which the arms differ.

    Args:
        cases: independent cases.
        discordant_share: observed share of cases that exactly one arm has right, 0 to 1.
        level: the two-sided p value must be below this.
        power: the asked chance, in (0, 1).
    """

    def excess(difference: float) -> float:
        return mcnemar_power(cases, difference, max(discordant_share, difference), level) - power

    # With 5 cases, even 5 of 5 give p = 0.06.
    return float(brentq(excess, 0.0, 1.0)) if excess(1.0) >= 0 else math.nan


def smallest_difference(standard_error: float, level: float, power: float = POWER) -> float:
    """Smallest true difference that a normal test with this standard error sees: (z(1 - level/2) + z(power)) · error.

    That of an AUROC is DeLong's or the bootstrap's at the observed areas; at other areas it would be another one, so
    this is an approximation.

    Args:
        standard_error: of the difference of two proportions or areas; nan or 0 where no spread was seen.
        level: the two-sided p value must be below this.
        power: the asked chance, in (0, 1).

    Returns:
        nan where no difference could have been seen: no spread is known, or it would have to be above 1.
    """
    smallest = float(norm.ppf(1 - level / 2) + norm.ppf(power)) * standard_error
    return smallest if 0 < smallest <= 1 else math.nan
