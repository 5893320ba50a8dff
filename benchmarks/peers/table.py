"""What was measured, as one table."""

import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks.peers.measuring import OURS, PLAIN, Entry, Failure, Outcome
from benchmarks.peers.work import Answer, Device

HEADINGS = (
    "network", "trained by", "setting", "channels", "images/s", "× plain", "× best peer", "whole job, s", "× plain",
    "× best peer", "peak, MB", "loss, first and last epoch",
)  # fmt: skip
GPU_PEAK = "peak on the GPU, MB"

Speed = Callable[[Answer], float]


def _rate(answer: Answer) -> float:
    return answer.images_per_second


def _jobs_per_second(answer: Answer) -> float:
    return 1 / answer.seconds


def table(outcomes: Mapping[Entry, Sequence[Outcome]], missing: Sequence[Entry], device: Device = "cpu") -> str:
    """One row per entry: medians of the rounds, smallest and largest in brackets.

    A ratio says how many times as fast an entry is, by the median of the rounds' ratios. `plain` is torchvision's loop
    in its default setting; the best peer is the fastest of all but us, for images/s and for the whole job each.

    Args:
        outcomes: the rounds of every entry, in the same order.
        missing: entries whose package is not installed.
        device: what trained.
    """
    headings = [GPU_PEAK if device == "cuda" and name == "peak, MB" else name for name in HEADINGS]
    lines = [f"| {' | '.join(headings)} |", f"|{'---|' * len(HEADINGS)}"]
    entries = [*outcomes, *missing]
    for arch in dict.fromkeys(entry.arch for entry in entries):
        of_arch = {entry: rounds for entry, rounds in outcomes.items() if entry.arch == arch}
        for entry in (entry for entry in entries if entry.arch == arch):
            cells = _cells(entry, of_arch) if entry in outcomes else _empty(entry, "not installed")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(entry: Entry, outcomes: Mapping[Entry, Sequence[Outcome]]) -> list[str]:
    rounds = outcomes[entry]
    answers = [outcome for outcome in rounds if not isinstance(outcome, Failure)]
    if not answers:
        return _empty(entry, "failed")
    one, name = answers[-1], entry.contestant.name
    return [
        entry.arch,
        f"**{name}**" if name == OURS else name,
        f"{entry.setting}: {one.setting}" + (f" ({len(answers)} of {len(rounds)} rounds)" if answers != rounds else ""),
        str(one.channels),
        _spread([_rate(answer) for answer in answers]),
        *_ratios(entry, outcomes, _rate),
        _spread([answer.seconds for answer in answers]),
        *_ratios(entry, outcomes, _jobs_per_second),
        f"{statistics.median(answer.peak_mb for answer in answers):.0f}",
        " → ".join(f"{statistics.median(answer.losses[at] for answer in answers):.3f}" for at in (0, -1)),
    ]


def _empty(entry: Entry, why: str) -> list[str]:
    known = [entry.arch, entry.contestant.name, f"{entry.setting}: {why}"]
    return known + ["–"] * (len(HEADINGS) - len(known))


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def _ratios(entry: Entry, outcomes: Mapping[Entry, Sequence[Outcome]], speed: Speed) -> list[str]:
    """Beside the plain loop, and beside the fastest peer."""
    peers = [other for other in outcomes if other.contestant.name != OURS]
    plain = [peer for peer in peers if peer.contestant.name == PLAIN and peer.setting == "default"]
    best = sorted(peers, key=lambda peer: _median_speed(outcomes[peer], speed))[-1:]
    return [_ratio(outcomes[entry], outcomes[other[0]], speed) if other else "–" for other in (plain, best)]


def _median_speed(rounds: Sequence[Outcome], speed: Speed) -> float:
    speeds = [speed(outcome) for outcome in rounds if not isinstance(outcome, Failure)]
    return statistics.median(speeds) if speeds else 0.0


def _ratio(rounds: Sequence[Outcome], others: Sequence[Outcome], speed: Speed) -> str:
    """Median over the rounds in which both gave an answer."""
    pairs = [
        speed(one) / speed(other)
        for one, other in zip(rounds, others, strict=True)
        if not isinstance(one, Failure) and not isinstance(other, Failure)
    ]
    return f"{statistics.median(pairs):.2f}" if pairs else "–"
