"""The Chinese report of real runs: nothing that a stage recorded stands in it in English, unless it says so."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import mlflow
import numpy as np
import pytest

from eusml.data.images import encode_png
from tests.integration.conftest import Place, make_place
from tests.pictures import annotated, speckled

pytestmark = [pytest.mark.slow]

FOLDER = """
name: tiny
work_dir: {work}
data:
  source: folder
  path: {images}
  positive_class: GIST
  image_size_px: 32
  audit: {{unreadable: drop, blank: drop}}
train: {{epochs: 1, batch_size: 8, threads: 1}}
arms: [{{name: resnet34, arch: resnet34}}]
promote: {{policy: {{require_git: any}}}}
evaluate: {{bootstrap_samples: 100}}
report: {{language: zh}}
"""
IMAGES = "bilder"
"""What the user calls the folder."""
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
    return page, {word for text in [*own, IMAGES, "GIST", "leiomyoma", "eusml"] for word in _WORD.findall(text)}


@pytest.fixture(scope="module")
def phantom(finished: Place, tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, set[str]]:
    finished.eusml("report", "--experiment", str(finished.experiment), "--report.language", "zh")
    return read_page(finished, "tiny: report", tmp_path_factory.mktemp("phantom"))


def write_images(root: Path) -> None:
    """Two classes with everything that an audit finds and a source leaves out."""
    for number, name in enumerate(("GIST", "leiomyoma")):
        (root / name).mkdir(parents=True)
        for case in range(14):
            picture = speckled(100 * number + case)
            if case == 0:
                picture = annotated(picture)
            if case == 1:
                picture = picture[:24, :24]
            (root / name / f"{case:02}.png").write_bytes(encode_png(np.ascontiguousarray(picture)))
    copy = np.ascontiguousarray(speckled(5)[:, ::-1])
    (root / "GIST" / "mirrored.png").write_bytes(encode_png(copy))
    (root / "GIST" / "blank.png").write_bytes(encode_png(np.full((80, 80), 90, dtype=np.uint8)))
    (root / "GIST" / "damaged.png").write_bytes(b"no picture")
    (root / "beside.png").write_bytes(encode_png(speckled(999)))
    (root / "GIST" / "notes.txt").write_text("x")
    (root / "leiomyoma" / "lost.png").symlink_to(root / "nowhere.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, set[str]]:
    here = tmp_path_factory.mktemp("folder")
    place = make_place(here)
    write_images(here / IMAGES)
    place.experiment.write_text(FOLDER.format(work=here / "work", images=here / IMAGES))
    done = place.eusml("main", "--experiment", str(place.experiment), check=False)
    assert "PromotionError" not in done.stderr, done.stderr[-3000:]
    return read_page(place, "tiny: main", here)


def unsaid(page: Page, *texts: str) -> list[str]:
    """Those of the texts that do not stand in what is marked as Chinese."""
    whole = "\n".join(page.texts["zh-Hans"])
    return [text for text in texts if text not in whole]


def test_a_phantom_study_is_told_in_chinese_alone(phantom: tuple[Page, set[str]]) -> None:
    page, names = phantom
    assert english_words(page, names) == set()
    assert set(page.texts) == {"zh-Hans"}
    assert not unsaid(
        page,
        "仿真体模",
        "目前还没有冠军",
        "个文件，均与记录一致",
        "区间下限",
        "合成图像训练",
        "按患者自助法，100 次重抽样",
    )


def test_one_evaluation_without_its_comparison_is_told_in_chinese(finished: Place, tmp_path: Path) -> None:
    client = mlflow.MlflowClient(tracking_uri=finished.environment["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], "tags.`eusml.stage` = 'evaluate'")
    run = next(one for one in found if one.info.run_name == "evaluate resnet34")
    words = ("--report.language", "zh", "--report.runs", f'["{run.info.run_id}"]')
    finished.eusml("report", "--experiment", str(finished.experiment), *words)
    page, names = read_page(finished, "tiny: report", tmp_path)
    assert english_words(page, names) == set()
    assert not unsaid(page, "按患者自助法，100 次重抽样")


def test_findings_and_exclusions_of_a_folder_are_told_in_chinese(folder: tuple[Page, set[str]]) -> None:
    page, names = folder
    assert english_words(page, names) == set()
    assert not unsaid(
        page,
        "排除（位于类别文件夹之外）: 1",
        "排除（无法读取）: 1",
        "排除（空白）: 1",
        "左右镜像（吻合度",
        "文件无法读取，程序报告：",
        "的感兴趣区内没有可见内容",
        "忽略了 1 个非图像文件（.txt 1 个）。",
        "忽略了 1 个失效的链接",
        "像素，已放大",
        "含测量标尺、字母或彩色标记",
    )
    # What the decoder says of a damaged file is quoted, and nothing else is.
    (quoted,) = page.texts["en"]
    assert "damaged.png" in quoted


def test_english_left_in_a_page_is_found() -> None:
    page = Page()
    page.feed('<html lang="zh-Hans"><p>细节 three files cannot be read</p><p>AUROC 0.9，p &lt; 0.001</p>'
              '<td>x<span lang="en">as recorded</span></td></html>')  # fmt: skip
    assert english_words(page, set()) == {"three", "files", "cannot", "be", "read"}
    assert page.texts["en"] == ["as recorded"]
