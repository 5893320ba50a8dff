"""A page as a list of sections of plain blocks: the same for HTML and Markdown, whatever the language."""

from collections.abc import Sequence
from dataclasses import dataclass

from eusml.evaluation.figures.drawing import Drawing


@dataclass(frozen=True)
class Cell:
    """Text of a table's cell, and where in the store its number stands."""

    text: str
    source: str = ""
    """`RUN_ID metric`, so that whoever doubts a figure finds it; empty for words and derived figures."""
    recorded: str = ""
    """English text that follows as it was recorded, where the page is in another language."""

    @property
    def is_figure(self) -> bool:
        """Whether it is a short figure that no line is to break."""
        return 0 < len(self.text) < 40 and not self.recorded and (self.text[:1].isdigit() or self.text[:1] in "+-−–<>")


@dataclass(frozen=True)
class Paragraph:
    """Sentences."""

    text: str
    kind: str = "text"
    """`text`, or `note` for what must not be overlooked."""


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class FigureBlock:
    """A figure as it stands in the page."""

    drawing: Drawing
    caption: str
    alt: str


@dataclass(frozen=True)
class Picture:
    """A picture of pixels."""

    name: str
    png: bytes
    caption: str
    alt: str


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side."""

    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Link:
    """One item of a checklist: filled by a section of the page, or open."""

    item: str
    text: str
    section: str
    """Identifier of the section; empty for what a human must answer."""
    section_title: str


@dataclass(frozen=True)
class Checklist:
    """Items of a reporting guideline."""

    caption: str
    head: Sequence[str]
    items: Sequence[Link]


Block = Paragraph | Bullets | Table | FigureBlock | Gallery | Picture | Checklist


@dataclass(frozen=True)
class Section:
    """A headed part of the page."""

    id: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """The page."""

    language: str
    title: str
    subtitle: str
    mark: str
    """What stands across a page about made-up images; empty for patients'."""
    disclaimer: str
    contents_title: str
    sections: Sequence[Section]

    def blocks(self, kind: type) -> list[Block]:
        """All blocks of one kind, in order."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, kind)]


def cells(*texts: object) -> list[Cell]:
    """A row of plain texts."""
    return [text if isinstance(text, Cell) else Cell(str(text)) for text in texts]
