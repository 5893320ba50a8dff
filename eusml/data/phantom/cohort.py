"""Synthetic patients with the margins of Table 1.

Table 1 gives marginals only: how often each value occurs, not which values go together. Here every characteristic is
drawn independently of the others within a class. That is an assumption, and a wrong one for real tumours (large
GISTs are more often heterogeneous, for one). The probe alone depends on another field, the lesion's size.

Cues that tell the classes apart beyond Table 1, each an assumption too (`HIDDEN_CUES`):

- a hypoechoic halo, and hyperechoic foci: more frequent in GIST (Kim 2009, World J Gastroenterol 15:3376: halo in 36
  of 46 GIST against 1 of 7 leiomyomas, spots in 41 of 46 against 3 of 7), with the difference shrunk;
- echo level relative to the muscle: higher in GIST (Khan 2020: mean grey value 58.9 against 39.5), shrunk;
- attenuation in the lesion: a little higher in leiomyoma. This one has no source; it moves the echo behind a 2 cm
  lesion by less than 1 dB at 7.5 MHz.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, cast, get_args

import numpy as np

from eusml.data.phantom.table1 import (
    TABLE_1,
    Border,
    EchoLevel,
    Growth,
    InternalEcho,
    Label,
    Layer,
    Margins,
    Moments,
    Sex,
    Shape,
    Site,
    Surface,
)
from eusml.errors import DataError

CohortMode = Literal["quota", "independent"]
Probe = Literal["by_size", "random"]

LOW_MHZ: Final = 7.5
HIGH_MHZ: Final = 20.0
PROBE_SWITCH_MM: Final = 13.0
"""Lesion diameter at which both probes are equally likely; smaller lesions are seen with 20 MHz."""
PROBE_SWITCH_WIDTH_MM: Final = 2.5

FIT_STEPS: Final = 60
"""Iterations that bring mean and SD of age and size to Table 1 despite the clipping; `quota` only."""
MAX_FIT_FACTOR: Final = 1.2

PSEUDO_COUNT: Final = 0.5
"""Added to every count of Table 1 in `independent` mode, so that no empty cell gives the class away."""

HETEROGENEITY_MEDIAN_DB: Final[Mapping[InternalEcho, float]] = {"homogeneous": 0.6, "heterogeneous": 4.5}
HETEROGENEITY_LOG_SD: Final = 0.35
MIXED_HETEROGENEITY_DB: Final = 4.5
"""Least heterogeneity of a lesion of mixed echo level."""
HOMOGENEOUS_FOCI_PROBABILITY: Final = 0.5
"""Share of homogeneous lesions that may hold foci at all; heterogeneous ones always may."""
MAX_FOCI: Final = 8
ECHO_LEVEL_SHIFT_DB: Final[Mapping[EchoLevel, float]] = {
    "hypoechoic": 0.0,
    "mid-hypoechoic": 4.0,
    "mixed": 2.0,
    "hyperechoic": 9.0,
}
ECHO_SD_DB: Final = 1.8


@dataclass(frozen=True)
class HiddenCues:
    """How a class differs in what Table 1 does not hold; sources in the module's docstring."""

    halo_probability: float
    foci_mean: float
    """Mean of the Poisson-distributed number of hyperechoic foci."""
    echo_mean_db: float
    """Mean echo level above muscle, before the shift that the echo level of Table 1 gives."""
    attenuation_excess_db_cm_mhz: float
    """Attenuation above that of the surrounding tissue."""


HIDDEN_CUES: Final[Mapping[Label, HiddenCues]] = {
    "GIST": HiddenCues(0.60, 3.0, 1.5, 0.03),
    "leiomyoma": HiddenCues(0.20, 1.0, -0.5, 0.06),
}


@dataclass(frozen=True)
class PhantomCase:
    """One synthetic patient with one lesion: all that `render` needs. SYNTHETIC, not a patient.

    The first block is Table 1 plus the probe; the second is what only the picture shows. `render` never reads
    `label`.
    """

    case_id: str
    label: Label
    age_years: float
    """18 to 90, to a tenth of a year."""
    sex: Sex
    size_mm: float
    """Long diameter, 3 to 65 mm, to a tenth of a millimetre."""
    site: Site
    layer: Layer
    """Layer of the wall from which the lesion grows."""
    internal_echo: InternalEcho
    echo_level: EchoLevel
    shape: Shape
    lobulated: bool
    growth: Growth
    border: Border
    surface: Surface
    calcification: bool
    anechoic_area: bool
    probe_mhz: float
    """7.5 or 20."""

    halo: bool
    """A darker rim inside the lesion's edge."""
    foci: int
    """Number of hyperechoic spots, 0 to 8."""
    echo_above_muscle_db: float
    heterogeneity_db: float
    """Standard deviation of the lesion's slow echo variation."""
    attenuation_excess_db_cm_mhz: float
    seed: int
    """Root of the case's random streams, 0 to 2**63 - 1."""


def sample_cohort(
    gist_cases: int,
    leiomyoma_cases: int,
    *,
    mode: CohortMode,
    probe: Probe,
    seed: int,
    prefix: str = "P",
) -> list[PhantomCase]:
    """Draw synthetic patients, in an order that does not tell the class.

    Args:
        gist_cases: number of GIST cases, at least 0.
        leiomyoma_cases: number of leiomyoma cases, at least 0.
        mode: `quota` gives Table 1's counts exactly for 69 and 73 cases, scaled by largest remainder for other
            numbers, and its mean and SD of age and size; `independent` draws every case on its own, with 0.5 added to
            every count.
        probe: `by_size` takes 20 MHz with probability 1 / (1 + exp((size - 13 mm) / 2.5 mm)); `random` with 0.5.
        seed: identity of the cohort, at least 0; another seed is another set of patients.
        prefix: start of every case_id, which goes on with a number from 0001.

    Raises:
        DataError: a negative number of cases, a negative seed, or a mode or probe that does not exist.
    """
    if min(gist_cases, leiomyoma_cases) < 0:
        raise DataError(f"a cohort of {gist_cases} GIST and {leiomyoma_cases} leiomyoma cases: give 0 or more of each")
    if seed < 0:
        raise DataError(f"seed of the phantom cohort is {seed}; it must be 0 or more")
    for name, value, allowed in (("mode", mode, get_args(CohortMode)), ("probe", probe, get_args(Probe))):
        if value not in allowed:
            raise DataError(f"{name} of the phantom cohort is {value!r}; allowed are {', '.join(allowed)}")
    rng = np.random.default_rng(seed)
    cases: list[PhantomCase] = []
    wanted: dict[Label, int] = {"GIST": gist_cases, "leiomyoma": leiomyoma_cases}
    for label, count in wanted.items():
        cases += _sample_class(label, count, mode, probe, rng)
    order = rng.permutation(len(cases))
    return [replace(cases[place], case_id=f"{prefix}{number:04d}") for number, place in enumerate(order, start=1)]


def _sample_class(
    label: Label, count: int, mode: CohortMode, probe: Probe, rng: np.random.Generator
) -> list[PhantomCase]:
    """`count` cases of one class; their case_id is still empty."""
    margins = TABLE_1[label]
    age = _draw_age(margins.age_years, count, mode, rng)
    size = _draw_size(margins.size_mm, count, mode, rng)
    categories = {name: _draw_category(margins, name, count, mode, rng) for name in margins.counts}
    cases = []
    for place in range(count):
        size_mm = round(float(size[place]), 1)
        described = {name: values[place] for name, values in categories.items()}
        cases.append(
            PhantomCase(
                case_id="",
                label=label,
                age_years=round(float(age[place]), 1),
                size_mm=size_mm,
                probe_mhz=_draw_probe(size_mm, probe, rng),
                **described,  # type: ignore[arg-type]
                **_draw_hidden(label, described, rng),  # type: ignore[arg-type]
                seed=int(rng.integers(2**63)),
            )
        )
    return cases


def _draw_category(
    margins: Margins, name: str, count: int, mode: CohortMode, rng: np.random.Generator
) -> list[str | bool]:
    values, counts = list(margins.counts[name]), np.array(list(margins.counts[name].values()))
    if mode == "quota":
        places = rng.permutation(np.repeat(np.arange(len(values)), largest_remainder(counts, count)))
    else:
        weights = counts + PSEUDO_COUNT
        places = rng.choice(len(values), count, p=weights / weights.sum())
    return [values[place] for place in places]


def largest_remainder(counts: np.ndarray, total: int) -> np.ndarray:
    """Scale counts (int [k]) to whole numbers that sum to `total` (Hamilton's method; ties go to the first)."""
    whole, remainder = np.divmod(counts * total, counts.sum())
    missing = total - int(whole.sum())
    whole[np.argsort(-remainder, kind="stable")[:missing]] += 1
    return whole


def _draw_age(target: Moments, count: int, mode: CohortMode, rng: np.random.Generator) -> np.ndarray:
    """Normal, clipped to the target's range: float64 [count], years."""
    score = rng.standard_normal(count)
    mean, sd = target.mean, target.sd
    for _ in range(FIT_STEPS if mode == "quota" and count > 1 else 0):
        value = np.clip(mean + sd * score, target.low, target.high)
        mean += target.mean - float(value.mean())
        sd *= _step_towards(target.sd, value)
    return np.clip(mean + sd * score, target.low, target.high)


def _draw_size(target: Moments, count: int, mode: CohortMode, rng: np.random.Generator) -> np.ndarray:
    """Lognormal, clipped to the target's range: float64 [count], mm."""
    score = rng.standard_normal(count)
    log_variance = np.log1p((target.sd / target.mean) ** 2)
    log_mean, log_sd = float(np.log(target.mean) - log_variance / 2), float(np.sqrt(log_variance))
    for _ in range(FIT_STEPS if mode == "quota" and count > 1 else 0):
        value = np.clip(np.exp(log_mean + log_sd * score), target.low, target.high)
        log_mean += float(np.log(target.mean / value.mean()))
        log_sd *= _step_towards(target.sd, value)
    return np.clip(np.exp(log_mean + log_sd * score), target.low, target.high)


def _step_towards(target_sd: float, value: np.ndarray) -> float:
    """Factor on the spread; only half the way (in logarithm), because mean and spread pull on each other."""
    return float(np.clip(np.sqrt(target_sd / max(float(value.std(ddof=1)), 1e-6)), 1 / MAX_FIT_FACTOR, MAX_FIT_FACTOR))


def _draw_probe(size_mm: float, probe: Probe, rng: np.random.Generator) -> float:
    high = 1 / (1 + np.exp((size_mm - PROBE_SWITCH_MM) / PROBE_SWITCH_WIDTH_MM)) if probe == "by_size" else 0.5
    return HIGH_MHZ if rng.random() < high else LOW_MHZ


def _draw_hidden(label: Label, described: Mapping[str, str | bool], rng: np.random.Generator) -> dict[str, object]:
    """What Table 1 does not hold: the fields of `PhantomCase` from `halo` on, without the seed."""
    cues = HIDDEN_CUES[label]
    internal_echo = cast(InternalEcho, described["internal_echo"])
    echo_level = cast(EchoLevel, described["echo_level"])
    halo = bool(rng.random() < cues.halo_probability)
    foci = min(int(rng.poisson(cues.foci_mean)), MAX_FOCI)
    may_hold_foci = rng.random() < HOMOGENEOUS_FOCI_PROBABILITY or internal_echo == "heterogeneous"
    spread = HETEROGENEITY_MEDIAN_DB[internal_echo] * float(np.exp(HETEROGENEITY_LOG_SD * rng.standard_normal()))
    if echo_level == "mixed":
        spread = max(spread, MIXED_HETEROGENEITY_DB)
    return {
        "halo": halo,
        "foci": foci if may_hold_foci else 0,
        "echo_above_muscle_db": float(rng.normal(cues.echo_mean_db, ECHO_SD_DB)) + ECHO_LEVEL_SHIFT_DB[echo_level],
        "heterogeneity_db": spread,
        "attenuation_excess_db_cm_mhz": cues.attenuation_excess_db_cm_mhz,
    }
