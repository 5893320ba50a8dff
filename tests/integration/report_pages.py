"""A report as its readers have it: its texts by the language they are marked with, and English left in Chinese."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import mlflow

from tests.integration.conftest import Place

TERMS = {"logit", "logistic", "mm", "px", "doi"}
"""Terms and units that Chinese writes in Latin letters."""
_NAME = re.compile(r"\S*[A-Z0-9_./=]\S*")
"""A proper name, an abbreviation, a key, a path, a version, a digest: no word of a sentence has such a sign."""
_WORD = re.compile(r"[A-Za-z]{2,}")


@dataclass
class Page(HTMLParser):
    """Texts of a page, those that are read aloud among them, by the language they are marked with."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    _open: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        language = known.get("lang", self._open[-1][1] if self._open else "")
        for name in ("alt", "aria-label", "title"):
            self._add(language, known.get(name, ""))
        if tag not in ("meta", "img", "br"):
            self._open.append((tag, language))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] != "style":
            self._add(self._open[-1][1], data.strip())

    def _add(self, language: str, text: str) -> None:
        self.texts.setdefault(language, []).extend([text] if text else [])


def english_words(page: Page, names: set[str]) -> set[str]:
    """Latin words in what is marked as Chinese that are neither names nor terms.

    Args:
        page: the report.
        names: what users, their data and their machine are the source of, word by word.
    """
    found: set[str] = set()
    for text in page.texts["zh-Hans"]:
        plain = re.sub(r"[^\x20-\x7e]", " ", text)
        plain = re.sub(r"[(),;:|\[\]<>%±~'\"`]", " ", plain)
        found |= {word for part in plain.split() if not _NAME.fullmatch(part) for word in _WORD.findall(part)}
    return found - TERMS - names


def read_page(place: Place, run: str, folder: Path) -> tuple[Page, set[str]]:
    """The newest report, and the words that its study's data, names and machine bring."""
    client = mlflow.MlflowClient(tracking_uri=place.environment["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])
    newest = next(one for one in found if one.info.run_name == run)
    page = Page()
    page.feed(Path(client.download_artifacts(newest.info.run_id, "report/report.html", str(folder))).read_text())
    own = [one.info.run_name for one in found] + [one.data.tags.get("eusml.compute", "") for one in found]
    own += Path(client.download_artifacts(newest.info.run_id, "environment.json", str(folder))).read_text().split()
    return page, {word for text in [*own, "GIST", "leiomyoma", "eusml"] for word in _WORD.findall(text)}


def unsaid(page: Page, *texts: str) -> list[str]:
    """Those of the texts that do not stand in what is marked as Chinese."""
    whole = "\n".join(page.texts["zh-Hans"])
    return [text for text in texts if text not in whole]
