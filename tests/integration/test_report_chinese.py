"""The Chinese report of real runs: nothing that a stage recorded stands in it in English, unless it says so."""

from pathlib import Path

import mlflow
import numpy as np
import pytest

from eusml.data.images import encode_png
from tests.integration.conftest import Place, make_place
from tests.integration.report_pages import Page, english_words, read_page, unsaid
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


@pytest.fixture(scope="module")
def phantom(finished: Place, tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, set[str]]:
    finished.told("report", "--report.language", "zh")
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
    place.ask("main")  # whatever the rules of promotion say
    page, names = read_page(place, "tiny: main", here)
    return page, {*names, IMAGES}


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
    finished.told("report", *words)
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
