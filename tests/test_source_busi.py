"""BUSI in miniature: the published tree, with the published names, of real PNG files."""

import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eusml.config import DataConfig
from eusml.data.manifest import BOX_COLUMNS, Cases
from eusml.data.sources import read_cases
from eusml.data.sources.busi import read_busi
from eusml.errors import DataError

WIDTH, HEIGHT = 60, 40
RNG = np.random.default_rng(0)


def draw_image(path: Path, width: int = WIDTH, height: int = HEIGHT) -> None:
    """Colour PNG, as published."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path, format="PNG")


def draw_mask(
    path: Path,
    *boxes: tuple[int, int, int, int],
    white: int = 255,
    mode: str = "L",
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> None:
    """A rectangle of `white` per box (x, y, width, height) on black."""
    mask = np.zeros(size[::-1], np.uint8)
    for x, y, w, h in boxes:
        mask[y : y + h, x : x + w] = white
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).convert(mode).save(path, format="PNG")


@pytest.fixture
def busi(tmp_path: Path) -> Path:
    root = tmp_path / "Dataset_BUSI_with_GT"
    for label, count in {"benign": 3, "malignant": 2, "normal": 2}.items():
        for i in range(1, count + 1):
            draw_image(root / label / f"{label} ({i}).png")
            boxes = [] if label == "normal" else [(5 * i, 3, 20, 10 + i)]
            draw_mask(root / label / f"{label} ({i})_mask.png", *boxes)
    return root


def read(path: Path) -> Cases:
    return read_cases(DataConfig(source="busi", path=path, positive_class="malignant"), path / "work")


def boxes_of(cases: Cases) -> dict[str, list[int]]:
    table = cases.table.set_index("case_id")
    return {str(name): [int(row[column]) for column in BOX_COLUMNS] for name, row in table.iterrows()}


def reasons(cases: Cases) -> dict[str, str]:
    return {one.case_id: one.reason for one in cases.excluded}


def test_images_get_the_box_of_their_mask_and_the_label_of_their_folder(busi: Path) -> None:
    cases = read(busi)
    assert boxes_of(cases) == {
        "benign/benign (1).png": [5, 3, 20, 11],
        "benign/benign (2).png": [10, 3, 20, 12],
        "benign/benign (3).png": [15, 3, 20, 13],
        "malignant/malignant (1).png": [5, 3, 20, 11],
        "malignant/malignant (2).png": [10, 3, 20, 12],
    }
    assert cases.table["label"].tolist() == ["benign"] * 3 + ["malignant"] * 2
    assert cases.table["patient_id"].tolist() == cases.table["case_id"].tolist()
    assert all((cases.root / image).is_file() for image in cases.table["image"])
    assert cases.source == "BUSI Dataset_BUSI_with_GT"
    assert not cases.synthetic


def test_normal_images_are_counted_and_left_out(busi: Path) -> None:
    cases = read(busi)
    assert reasons(cases) == {f"normal/normal ({i}).png": "normal: no lesion" for i in (1, 2)}
    shutil.rmtree(busi / "normal")
    assert read(busi).excluded == ()


def test_patients_are_said_to_be_unknown(busi: Path) -> None:
    (note,) = read(busi).notes
    assert "names no patients" in note


def test_several_masks_are_united_into_one_box(busi: Path) -> None:
    draw_mask(busi / "benign/benign (1)_mask.png", (30, 5, 4, 4))
    draw_mask(busi / "benign/benign (1)_mask_1.png", (10, 20, 5, 6))
    draw_mask(busi / "benign/benign (1)_mask_2.png", (50, 22, 10, 18))
    cases = read(busi)
    assert boxes_of(cases)["benign/benign (1).png"] == [10, 5, 50, 35]
    assert len(cases.table) == 5
    draw_mask(busi / "benign/benign (1)_mask_2.png")
    assert boxes_of(read(busi))["benign/benign (1).png"] == [10, 5, 24, 21]


@pytest.mark.parametrize(("white", "mode"), [(255, "1"), (255, "RGB"), (255, "RGBA"), (1, "L"), (255, "P")])
def test_masks_of_every_kind_are_read(busi: Path, white: int, mode: str) -> None:
    draw_mask(busi / "benign/benign (1)_mask.png", (7, 8, 9, 10), white=white, mode=mode)
    assert boxes_of(read(busi))["benign/benign (1).png"] == [7, 8, 9, 10]


def test_the_rings_of_a_jpeg_are_no_lesion(busi: Path) -> None:
    (busi / "benign/benign (1)_mask.png").unlink()
    draw_mask(busi / "mask.png", (7, 8, 19, 17))
    with Image.open(busi / "mask.png") as mask:
        mask.save(busi / "benign/benign (1)_mask.jpg", quality=60)
    with Image.open(busi / "benign/benign (1)_mask.jpg") as mask:
        assert np.asarray(mask)[:, :7].any()
    assert boxes_of(read(busi))["benign/benign (1).png"] == [7, 8, 19, 17]


def test_images_whose_mask_tells_no_box_are_left_out_and_say_why(busi: Path) -> None:
    (busi / "benign/benign (1)_mask.png").unlink()
    draw_mask(busi / "benign/benign (2)_mask.png")
    draw_mask(busi / "malignant/malignant (1)_mask.png", (1, 1, 9, 9), size=(HEIGHT, WIDTH))
    (busi / "malignant/malignant (2)_mask.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    cases = read(busi)
    assert list(boxes_of(cases)) == ["benign/benign (3).png"]
    assert reasons(cases) == {
        "benign/benign (1).png": "mask missing",
        "benign/benign (2).png": "mask empty",
        "malignant/malignant (1).png": "mask of another size than the image",
        "malignant/malignant (2).png": "mask unreadable",
        "normal/normal (1).png": "normal: no lesion",
        "normal/normal (2).png": "normal: no lesion",
    }
    (busi / "benign/benign (3)_mask.png").unlink()
    with pytest.raises(DataError, match=r"no image with a lesion box; found mask missing \(2\), mask empty \(1\)"):
        read(busi)


def test_one_wrong_mask_of_several_is_enough(busi: Path) -> None:
    draw_mask(busi / "benign/benign (1)_mask_1.png", (1, 1, 5, 5), size=(WIDTH + 1, HEIGHT))
    assert reasons(read(busi))["benign/benign (1).png"] == "mask of another size than the image"


def test_an_unreadable_image_stays_a_case_for_the_audit(busi: Path) -> None:
    (busi / "benign/benign (1).png").write_bytes(b"")
    assert boxes_of(read(busi))["benign/benign (1).png"] == [5, 3, 20, 11]


def test_upper_case_and_what_systems_add(busi: Path) -> None:
    (busi / "benign").rename(busi / "Benign")
    for name in ("benign (1)", "benign (1)_mask"):
        (busi / f"Benign/{name}.png").rename(busi / f"Benign/{name.replace('mask', 'MASK')}.PNG")
    (busi / "Benign/._benign (1).png").write_bytes(b"resource fork")
    (busi / "Benign/Thumbs.db").write_bytes(b"")
    (busi / "Benign/.DS_Store").write_bytes(b"")
    cases = read(busi)
    assert boxes_of(cases)["Benign/benign (1).PNG"] == [5, 3, 20, 11]
    assert Counter(cases.table["label"]) == {"benign": 3, "malignant": 2}
    assert set(reasons(cases).values()) == {"normal: no lesion"}


def test_masks_without_an_image_are_noted(busi: Path) -> None:
    (busi / "benign/benign (2).png").unlink()
    cases = read(busi)
    assert len(cases.table) == 4
    assert cases.notes[1] == "Masks without an image: 1, the first of them benign/benign (2)_mask.png."


def test_the_folder_is_found_from_above(busi: Path) -> None:
    expected = boxes_of(read(busi))
    assert boxes_of(read(busi.parent)) == expected
    deep = busi.parent / "downloads" / "archive"
    deep.mkdir(parents=True)
    busi.rename(deep / busi.name)
    assert boxes_of(read(deep.parent)) == expected
    shutil.copytree(deep / busi.name, deep / "copy")
    with pytest.raises(DataError, match=r"holds BUSI more than once: .*Dataset_BUSI_with_GT, .*copy; name one"):
        read(deep)


def test_the_wrong_place_is_named(busi: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is a part of BUSI only; give the folder above, .*Dataset_BUSI_with_GT$"):
        read(busi / "benign")
    shutil.rmtree(busi / "malignant")
    with pytest.raises(DataError, match="holds no BUSI, which is known by the folders benign and malig"):
        read(busi)
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="is a file, not a folder of BUSI"):
        read_busi(DataConfig(source="busi", path=Path(__file__)), tmp_path, iter)
    with pytest.raises(DataError, match=r"data\.path is not given"):
        read_busi(DataConfig(source="busi"), tmp_path, iter)


def test_the_published_archive_is_read(busi: Path, tmp_path: Path) -> None:
    archive = tmp_path / "Dataset_BUSI.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for file in sorted(busi.rglob("*.png")):
            packed.write(file, file.relative_to(tmp_path))
    settings = DataConfig(source="busi", path=archive, positive_class="malignant")
    cases = read_cases(settings, tmp_path / "work")
    assert boxes_of(cases) == boxes_of(read(busi))
    assert cases.source == "BUSI Dataset_BUSI_with_GT"
    assert cases.root.is_relative_to(tmp_path / "work")


def test_progress_sees_every_image(busi: Path, tmp_path: Path) -> None:
    seen: list[int] = []

    def progress(items: object) -> list[object]:
        seen.append(len(items))  # type: ignore[arg-type]
        return list(items)  # type: ignore[call-overload]

    read_busi(DataConfig(source="busi", path=busi), tmp_path, progress)
    assert seen == [7]
