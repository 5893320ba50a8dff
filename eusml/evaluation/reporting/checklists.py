"""Reporting guidelines, item by item: where this report fills one, or that a person must."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from eusml.evaluation.reporting.document import Block, Checklist, Link, Paragraph, Section
from eusml.evaluation.reporting.words import Words


@cache
def guidelines() -> Sequence[Mapping[str, Any]]:
    """CLAIM 2024, TRIPOD+AI and STARD-AI, abridged: name, title in each language, items."""
    text = (files("eusml.evaluation.reporting") / "checklists.yaml").read_text(encoding="utf-8")
    found: Sequence[Mapping[str, Any]] = yaml.safe_load(text)
    return found


def checklists(sections: Sequence[Section], w: Words) -> Section:
    """The guidelines beside the sections that this report has."""
    titles = {section.id: section.title for section in sections}
    blocks: list[Block] = [Paragraph(w("checklists.text"))]
    for guideline in guidelines():
        links = [_link(item, titles, w) for item in guideline["items"]]
        filled = sum(bool(link.section) for link in links)
        counted = w("checklists.counted", filled=filled, total=len(links))
        caption = f"{guideline[w.language]}. {counted}"
        blocks.append(Checklist(caption, w("checklists.head").split("|"), links))
    return Section("checklists", w("checklists.title"), blocks)


def _link(item: Mapping[str, Any], titles: Mapping[str, str], w: Words) -> Link:
    wanted = item.get("section", [])
    wanted = [wanted] if isinstance(wanted, str) else wanted
    section = next((name for name in wanted if name in titles), "")
    return Link(
        item.get(f"item_{w.language}", item["item"]),
        item[w.language],
        section,
        titles.get(section, w("checklists.open")),
    )
