"""The report of a study: the page, the same as Markdown, figures, and the numbers of each figure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from eusml.config import Language
from eusml.evaluation.reporting import (
    sections_compared,
    sections_data,
    sections_method,
    sections_record,
    sections_results,
    sections_use,
)
from eusml.evaluation.reporting.checklists import checklists
from eusml.evaluation.reporting.contents import Contents
from eusml.evaluation.reporting.document import Document, FigureBlock, Gallery, Picture, Section
from eusml.evaluation.reporting.rendering import html, markdown
from eusml.evaluation.reporting.words import Words, words

_SECTIONS: Sequence[Callable[[Contents, Words], Section | None]] = (
    sections_method.summary,
    sections_data.cohort,
    sections_data.flow,
    sections_data.audit,
    sections_method.protocol,
    sections_data.augmentation,
    sections_method.learning,
    sections_results.measured,
    sections_results.confusion,
    sections_results.discrimination,
    sections_use.calibration,
    sections_use.decision_curve,
    sections_use.by_prevalence,
    sections_compared.comparison,
    sections_compared.baselines,
    sections_compared.by_subgroup,
    sections_compared.failures,
    sections_record.tuning,
    sections_record.promotion,
    sections_compared.context,
    sections_compared.reproduction,
    sections_record.environment,
)
"""In the order of the page; each gives None where there is nothing to say."""


@dataclass(frozen=True)
class Report:
    """A finished report."""

    document: Document
    files: Mapping[str, bytes]
    """Path below the report's folder to content: `report.html`, `report.md`, `figures/roc.svg`, `data/roc.csv`, …"""


def build(contents: Contents, language: Language) -> Report:
    """The report in one language.

    Args:
        contents: what was read from the store.
        language: `en` or `zh`.
    """
    made = document(contents, language)
    files = {"report.html": html(made).encode(), "report.md": markdown(made).encode()}
    for block in made.blocks(FigureBlock):
        assert isinstance(block, FigureBlock)
        drawing = block.drawing
        files[f"figures/{drawing.name}.svg"] = drawing.svg_file
        files[f"figures/{drawing.name}.png"] = drawing.png
        files[f"data/{drawing.name}.csv"] = drawing.csv_file
    for picture in _pictures(made):
        files[f"figures/{picture.name}.png"] = picture.png
    return Report(made, files)


def document(contents: Contents, language: Language) -> Document:
    """The page, not yet in any format."""
    w = words(language)
    negative, positive = contents.classes
    sections = [section for make in _SECTIONS if (section := make(contents, w)) is not None]
    sections.append(checklists(sections, w))
    return Document(
        language={"zh": "zh-Hans"}.get(language, language),
        title=w(
            f"title_{'eus' if contents.is_eus else 'other'}", positive=positive, negative=negative, name=contents.name
        ),
        subtitle=w("subtitle", runs=", ".join(contents.run_ids), started=contents.started),
        mark=w("mark") if contents.synthetic else "",
        disclaimer=w("disclaimer"),
        contents_title=w("contents"),
        sections=sections,
    )


def _pictures(made: Document) -> list[Picture]:
    alone = [block for block in made.blocks(Picture) if isinstance(block, Picture)]
    galleries = [block for block in made.blocks(Gallery) if isinstance(block, Gallery)]
    return [*alone, *(picture for gallery in galleries for picture in gallery.pictures)]
