"""What a figure is made of and what it becomes: plain values, without matplotlib."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from eusml.tables import to_csv_text

Panels = Mapping[str, Mapping[str, pd.DataFrame]]
"""Partition to network to a table."""
PART_TITLES: Mapping[str, str] = {
    "test": "held-out cases",
    "val": "validation cases",
    "fresh": "fresh cases",
    "all": "all cases, out of fold",
}
"""What a panel is called; `all` stands for `test` where every case is held out once."""


@dataclass(frozen=True)
class Frame:
    """What a figure says beside its numbers: whose they are, and what nobody says of it where it stands."""

    synthetic: bool
    """Whether the images are made up."""
    note: str = ""
    """What stands below the figure where no page has a caption for it."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """English label to the one in the page's language."""
    titles: Mapping[str, str] = field(default_factory=lambda: PART_TITLES)
    """Partition to the title of its panel, a line or several."""

    def title(self, part: str) -> str:
        """Of a partition's panel."""
        return self.titles.get(part, part)


@dataclass(frozen=True)
class Drawing:
    """A figure with its numbers."""

    name: str
    """Of its files, without ending."""
    svg: str
    """The `svg` element alone, to stand in a page."""
    png: bytes
    data: pd.DataFrame

    @property
    def svg_file(self) -> bytes:
        """The same as a file."""
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{self.svg}\n'.encode()

    @property
    def csv_file(self) -> bytes:
        """The numbers."""
        return to_csv_text(self.data).encode()


def files(drawings: Iterable[Drawing]) -> dict[str, bytes]:
    """File name to content of all of them: each as PNG, SVG and CSV."""
    found: dict[str, bytes] = {}
    for drawing in drawings:
        found |= {
            f"{drawing.name}.png": drawing.png,
            f"{drawing.name}.svg": drawing.svg_file,
            f"{drawing.name}.csv": drawing.csv_file,
        }
    return found


def joined(panels: Panels) -> pd.DataFrame:
    """All tables below one another, with columns `part` and `arm`."""
    rows = [table.assign(part=part, arm=arm) for part, tables in panels.items() for arm, table in tables.items()]
    return pd.concat(rows, ignore_index=True)
