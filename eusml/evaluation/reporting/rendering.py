"""A document as one HTML file that needs nothing else, and as Markdown with its figures beside it."""

import base64
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from eusml.evaluation.reporting.document import (
    Block,
    Bullets,
    Checklist,
    Document,
    FigureBlock,
    Gallery,
    Paragraph,
    Picture,
    Table,
)

_BLOCKS = (Bullets, Checklist, FigureBlock, Gallery, Paragraph, Picture, Table)


def html(document: Document) -> str:
    """The page; text is escaped, whatever a case or a class is called."""
    environment = Environment(
        loader=PackageLoader("eusml.evaluation.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    macros: Any = environment.get_template("blocks.html.j2").module
    style = (files("eusml.evaluation.reporting") / "templates" / "style.css").read_text(encoding="utf-8")
    return environment.get_template("report.html.j2").render(
        doc=document,
        style=style,
        blocks={kind.__name__: getattr(macros, kind.__name__) for kind in _BLOCKS},
    )


def markdown(document: Document) -> str:
    """The same for a manuscript: figures as links to the files beside it."""
    lines = [f"**{document.mark}**", ""] if document.mark else []
    lines += [f"# {document.title}", "", document.subtitle, "", f"> {document.disclaimer}", ""]
    for section in document.sections:
        lines += [f'<a id="{section.id}"></a>', "", f"## {section.title}", ""]
        for block in section.blocks:
            lines += [*_markdown(block), ""]
    return "\n".join(lines).rstrip() + "\n"


def _markdown(block: Block) -> list[str]:
    if isinstance(block, Paragraph):
        return [("> " if block.kind == "note" else "") + _safe(block.text)]
    if isinstance(block, Bullets):
        return [f"- {_safe(item)}" for item in block.items]
    if isinstance(block, FigureBlock):
        name = block.drawing.name
        return [f"![{_safe(block.alt)}](figures/{name}.svg)", "", f"*{_safe(block.caption)}* ([CSV](data/{name}.csv))"]
    if isinstance(block, Picture):
        return [f"![{_safe(block.alt)}](figures/{block.name}.png)", "", f"*{_safe(block.caption)}*"]
    if isinstance(block, Gallery):
        return [line for picture in block.pictures for line in (*_markdown(picture), "")][:-1]
    if isinstance(block, Checklist):
        rows = [
            [one.item, one.text, f"[{one.section_title}](#{one.section})" if one.section else one.section_title]
            for one in block.items
        ]
        return [f"**{_safe(block.caption)}**", "", *_rows(block.head, rows)]
    return [
        f"**{_safe(block.caption)}**",
        "",
        *_rows(block.head, [[cell.text + cell.recorded for cell in row] for row in block.rows]),
    ]


def _rows(head: Any, rows: list[list[str]]) -> list[str]:
    lines = [list(head), ["---"] * len(head), *rows]
    return ["| " + " | ".join(text if text == "---" else _safe(text) for text in line) + " |" for line in lines]


def _safe(text: str) -> str:
    """Text that no table ends at and no browser takes for a tag."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _data_uri(picture: Picture) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.png).decode()
