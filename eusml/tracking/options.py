"""How an answer is wanted; apart from who gives it, so that the registry imports no network to name a parameter."""

from dataclasses import dataclass

ERROR_RATE = 0.1
"""Of prediction sets, unless another one is asked for."""


@dataclass(frozen=True)
class Options:
    """How an answer is wanted."""

    error_rate: float = ERROR_RATE
    """Share of cases whose prediction set may lack their class, in (0, 1)."""
    explain: bool = False
    """Show where the network looked, as a PNG."""
    views: int = 0
    """Orientations that the answer is the mean of, 1, 2, 4 or 8; 0 means as the model was evaluated."""
