"""The report as a page: every figure in it is the store's, every drawing has its numbers, and nothing is empty."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from eusml.errors import TrackingError
from eusml.evaluation.reporting.build import Report, build
from eusml.evaluation.reporting.checklists import guidelines
from eusml.evaluation.reporting.contents import Contents
from eusml.evaluation.reporting.document import FigureBlock, Table
from eusml.tables import from_csv_text
from eusml.tracking.reading import read_contents
from eusml.tracking.selection import select
from tests.reported import Written, write_study

pytestmark = [pytest.mark.slow]

DECIMAL = re.compile(r"(?<![\d.])[0-9]\.[0-9]{3}(?![\d])")


class Page(HTMLParser):
    """What a test asks of a page: text of each section, cells with their sources, addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections: dict[str, str] = {}
        self.sources: list[tuple[str, str]] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self._section, self._cell, self._skipped = "", "", 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        self._skipped += tag in ("svg", "style")
        self.addresses += [known[name] for name in ("href", "src", "xlink:href") if name in known]
        self.ids += [known["id"]] if "id" in known else []
        if tag == "section":
            self._section = known["id"]
        if "data-source" in known:
            self._cell = known["data-source"]

    def handle_endtag(self, tag: str) -> None:
        self._skipped -= tag in ("svg", "style")

    def handle_data(self, data: str) -> None:
        if self._skipped:
            return
        self.sections[self._section] = self.sections.get(self._section, "") + data
        if self._cell:
            self.sources.append((self._cell, data))
            self._cell = ""


def made(folder: Path, study: Written, language: str = "en") -> tuple[Contents, Report]:
    contents = read_contents(select((study.main,), "0", folder), folder)
    return contents, build(contents, language)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def study(store_folder: Path) -> Written:
    return write_study()


@pytest.fixture(scope="module")
def report(study: Written, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Contents, Report]]:
    return made(tmp_path_factory.mktemp("report"), study)


@pytest.fixture(scope="module")
def chinese(study: Written, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return made(tmp_path_factory.mktemp("chinese"), study, "zh")[1]


def test_every_figure_with_a_source_is_what_the_store_has_there(
    report: tuple[Contents, Report], study: Written
) -> None:
    page = Page(report[1].files["report.html"].decode())
    client, seen = MlflowClient(), set()
    for source, text in page.sources:
        run_id, name = source.split(" ")
        run = client.get_run(run_id).data
        if name.startswith("cfg."):
            wanted = run.params.get(name)
            shown = {"yes": "true", "no": "false", "–": None}.get(text, text)
            assert shown == wanted or shown.casefold().replace("-", "") == wanted or float(shown) == float(wanted), (
                source
            )
            continue
        value, low, high = (run.metrics.get(f"{name}{end}") for end in ("", "_ci_low", "_ci_high"))
        fraction = (
            f"{run.metrics[f'{name}_count']:.0f}/{run.metrics[f'{name}_total']:.0f} = "
            if f"{name}_count" in run.metrics
            else ""
        )
        assert text == f"{fraction}{value:.3f} ({low:.3f}–{high:.3f})", source
        seen.add((run_id, name))
    measures = ("sensitivity", "specificity", "ppv", "npv", "accuracy", "balanced_accuracy", "f1", "mcc", "auroc",
                "auprc", "brier")  # fmt: skip
    wanted_cells = {
        (run_id, f"{part}/{measure}") for run_id in study.evaluations.values() for part in ("test", "fresh")
        for measure in measures
    }  # fmt: skip
    assert wanted_cells <= seen


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_section_about_results_has_a_decimal_that_the_store_lacks(
    report: tuple[Contents, Report], chinese: Report, language: str
) -> None:
    contents, english = report
    page = Page({"en": english, "zh": chinese}[language].files["report.html"].decode())
    known: set[str] = set()
    for arm in contents.arms:
        for part in arm.metrics:
            known |= {f"{value:.3f}" for value in MlflowClient().get_run(arm.run_ids[part]).data.metrics.values()}
    assert contents.comparison is not None
    known |= {f"{value:.3f}" for value in contents.comparison[["value", "ci_low", "ci_high"]].to_numpy().ravel()}
    for name in ("summary", "results", "confusion", "discrimination", "baselines"):
        found = DECIMAL.findall(page.sections[name])
        assert set(found) <= known, name
        assert found or name == "confusion"


def test_counts_in_sentences_are_the_metrics(report: tuple[Contents, Report], study: Written) -> None:
    text = Page(report[1].files["report.html"].decode()).sections["confusion"]
    for arm, run_id in study.evaluations.items():
        metrics = MlflowClient().get_run(run_id).data.metrics
        tp, fn, tn, fp = (f"{metrics[f'test/{name}']:.0f}" for name in ("tp", "fn", "tn", "fp"))
        assert (
            f"{arm} on the held-out cases: {tp} GIST were recognised and {fn} were taken for leiomyoma; {tn} leiomyoma "
            f"were recognised and {fp} were taken for GIST."
        ) in text


def test_every_figure_has_its_files_and_its_numbers(report: tuple[Contents, Report]) -> None:
    files = report[1].files
    drawings = [block.drawing for block in report[1].document.blocks(FigureBlock)]  # type: ignore[union-attr]
    assert len({drawing.name for drawing in drawings}) == len(drawings) >= 10
    for drawing in drawings:
        assert files[f"figures/{drawing.name}.svg"].startswith(b"<?xml")
        assert files[f"figures/{drawing.name}.png"].startswith(b"\x89PNG")
        table = from_csv_text(files[f"data/{drawing.name}.csv"].decode())
        assert len(table) == len(drawing.data) > 0
        assert b"SYNTHETIC" in files[f"figures/{drawing.name}.svg"]
    curve = from_csv_text(files["data/roc.csv"].decode())
    assert set(curve["arm"]) == {"resnet34", "resnet50"}


def test_the_page_needs_nothing_else_and_stays_small(report: tuple[Contents, Report]) -> None:
    text = report[1].files["report.html"]
    page = Page(text.decode())
    assert len(text) < 5_000_000
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in page.addresses)
    assert b"url(http" not in text
    assert b"@import" not in text
    assert len(page.ids) == len(set(page.ids))
    targets = {address[1:] for address in page.addresses if address.startswith("#")}
    assert targets <= set(page.ids)
    assert [section.id for section in report[1].document.sections] == [name for name in page.sections if name]


def test_no_section_is_empty_and_no_sentence_has_a_gap(report: tuple[Contents, Report], chinese: Report) -> None:
    for found in (report[1], chinese):
        for section in found.document.sections:
            assert section.blocks, section.id
            for block in section.blocks:
                assert not isinstance(block, Table) or block.rows, section.id
        text = found.files["report.md"].decode()
        assert not re.search(r"\{\w*\}|\bnan\b|\bNone\b(?! seen| of them)", text)


def test_what_a_case_or_a_finding_is_called_cannot_become_markup(report: tuple[Contents, Report]) -> None:
    files = report[1].files
    assert b"three files &lt;b&gt;cannot&lt;/b&gt; be read" in files["report.html"]
    assert "three files &lt;b>cannot&lt;/b> be read \\| at all" in files["report.md"].decode()


def test_what_an_old_run_recorded_as_text_alone_stays_english_and_says_so(
    report: tuple[Contents, Report], chinese: Report
) -> None:
    pages = [found.files["report.html"].decode() for found in (chinese, report[1])]
    for marked in (
        '<td class="words"><span lang="en">three files &lt;b&gt;cannot&lt;/b&gt; be read | at all</span></td>',
        ' lang="en">unreadable file: 3</text>',
    ):
        assert [marked in page for page in pages] == [True, False], marked
    assert "three files &lt;b>cannot&lt;/b> be read" in chinese.files["report.md"].decode()
    assert ">找到: 83</text>" in pages[0]


def test_a_damaged_record_of_sentences_is_named(store_folder: Path, tmp_path: Path) -> None:
    study = write_study()
    MlflowClient().log_text(study.data, "{}", "audit/audit.json")
    with pytest.raises(TrackingError, match=rf"audit/audit\.json of run {study.data} is damaged"):
        made(tmp_path, study)


def test_both_languages_say_the_same_figures(report: tuple[Contents, Report], chinese: Report) -> None:
    pages = [Page(found.files["report.html"].decode()) for found in (report[1], chinese)]
    assert list(pages[0].sections) == list(pages[1].sections)
    for name in pages[0].sections:
        numbers = [sorted(re.findall(r"\d+\.\d+|\d+/\d+", page.sections[name])) for page in pages]
        assert numbers[0] == numbers[1], name
    assert [source for source, _ in pages[0].sources] == [source for source, _ in pages[1].sources]
    assert 'lang="zh-Hans"' in chinese.files["report.html"].decode()
    assert "灵敏度" in chinese.files["figures/forest_test.svg"].decode()
    for name, content in report[1].files.items():
        if name.startswith("data/") and "flow" not in name:
            assert content == chinese.files[name], name


def test_synthetic_data_are_marked_and_patients_are_not(
    store_folder: Path, report: tuple[Contents, Report], tmp_path: Path
) -> None:
    assert b"SYNTHETIC images, not patients" in report[1].files["report.html"]
    _, real = made(tmp_path, write_study(synthetic=False))
    assert not any(b"SYNTHETIC" in content for content in real.files.values())
    text = real.files["report.html"].decode()
    assert "Research software: no output of it is fit for diagnosis" in text
    assert "<img" not in text  # no picture was logged, so none is shown
    assert "Pictures of patients stay where the images are" in text


def test_a_folder_of_breast_images_reads_without_a_word_about_eus(store_folder: Path, tmp_path: Path) -> None:
    study = write_study(synthetic=False, positive="malignant", negative="benign", covariates=False, fresh=False)
    _, found = made(tmp_path, study)
    text = found.files["report.html"].decode()
    assert not re.search(r"EUS|endoscop|GIST|leiomyoma|\bprobe\b|Guo", text)
    ids = [section.id for section in found.document.sections]
    assert "literature" not in ids
    assert "reproduction" not in ids
    assert "subgroups" not in ids
    assert "the data bring no covariates" in text


def test_a_network_without_errors_has_a_sentence_and_no_gallery(store_folder: Path, tmp_path: Path) -> None:
    _, found = made(tmp_path, write_study(perfect="resnet34"))
    text = Page(found.files["report.html"].decode()).sections["failures"]
    assert "resnet34 made no error on the held-out cases, so there is no picture to show." in text
    assert "resnet50 was wrong in" in text
    everywhere = found.files["report.html"].decode()
    assert "nan" not in Page(everywhere).sections["calibration"]


def test_errors_of_one_class_alone_are_said_to_be(report: tuple[Contents, Report]) -> None:
    text = Page(report[1].files["report.html"].decode()).sections["failures"]
    assert "The 2 surest errors:" in text
    assert b'alt="Image of case' in report[1].files["report.html"]


def test_checklists_link_what_the_report_has_and_leave_the_rest_open(report: tuple[Contents, Report]) -> None:
    page = Page(report[1].files["report.html"].decode())
    for guideline in guidelines():
        assert str(guideline["en"]).split(" (")[0] in page.sections["checklists"]
        assert {"item", "en", "zh"} <= set(guideline["items"][0])
    assert "open: to be answered by the authors" in page.sections["checklists"]
    items = {guideline["name"]: [item["item"] for item in guideline["items"]] for guideline in guidelines()}
    assert len(items["claim"]) == 44
    # STARD-AI has 40 items, some with parts: none is missing, and they come in order.
    spans = [[int(number) for number in re.findall(r"\d+", item)] for item in items["stard"]]
    numbers = [number for span in spans for number in range(span[0], span[-1] + 1)]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(1, 41))


def test_the_baseline_and_the_pairs_are_those_of_the_comparison(
    report: tuple[Contents, Report], study: Written
) -> None:
    contents, found = report
    text = Page(found.files["report.html"].decode()).sections["comparison"]
    file = MlflowClient().download_artifacts(study.compare, "pairs.json")
    for pairs in json.loads(Path(file).read_text()).values():
        for pair in pairs:
            assert (
                f"{pair['accuracy_difference']:+.3f} ({pair['accuracy_low']:+.3f}; {pair['accuracy_high']:+.3f})"
                in text
            )
            assert f"{pair['only_a_right']} right by the first alone" in text
    assert isinstance(contents.comparison, pd.DataFrame)
