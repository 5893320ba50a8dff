from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from eusml.config import DataConfig, PhantomConfig
from eusml.data.images import encode_png
from eusml.data.manifest import two_classes
from eusml.data.prepare import Prepared, load, prepare, save
from eusml.data.sources import phantom_cohort, read_cases
from eusml.errors import DataError

RNG = np.random.default_rng(0)


def write_image(path: Path, side: int = 40) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(cv2.GaussianBlur(RNG.integers(0, 256, (side, side), dtype=np.uint8), (3, 3), 0)))


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for label, names in {"benign": "abc", "malignant": "ab"}.items():
        for name in names:
            write_image(root / label / f"{name}.png")
    return root


@pytest.fixture
def with_manifest(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    rows = []
    for i in range(6):
        write_image(root / "png" / f"{i}.png")
        rows.append(
            {"case_id": f"c{i}", "patient_id": f"p{i // 2}", "image": f"png/{i}.png", "label": "xy"[i % 2]}
            | {"bbox_x": 5, "bbox_y": 6, "bbox_w": 20, "bbox_h": 10, "age": 40 + i}
        )
    pd.DataFrame(rows).to_csv(root / "manifest.csv", index=False)
    return root


def settings(root: Path, positive: str, **more: object) -> DataConfig:
    return DataConfig(source="folder", path=root, positive_class=positive, image_size_px=32, **more)  # type: ignore[arg-type]


def edit(root: Path, **columns: object) -> None:
    pd.read_csv(root / "manifest.csv").assign(**columns).to_csv(root / "manifest.csv", index=False)


def read(root: Path, positive: str = "x") -> Prepared:
    chosen = settings(root, positive)
    return prepare(read_cases(chosen, root.parent / "work"), chosen)


def test_class_folders_become_labels(class_folders: Path, tmp_path: Path) -> None:
    chosen = settings(class_folders, "malignant")
    cases = read_cases(chosen, tmp_path)
    assert cases.table["label"].value_counts().to_dict() == {"benign": 3, "malignant": 2}
    assert cases.table["case_id"].tolist()[0] == "benign/a.png"
    assert cases.table["patient_id"].is_unique
    assert not cases.synthetic
    prepared = prepare(cases, chosen)
    assert prepared.images.shape == (5, 32, 32)
    assert prepared.manifest.y_true.tolist() == [0, 0, 0, 1, 1]
    assert (prepared.manifest.positive_class, prepared.manifest.negative_class) == ("malignant", "benign")


def test_manifest_gives_patients_boxes_and_covariates(with_manifest: Path, tmp_path: Path) -> None:
    chosen = settings(with_manifest, "x", roi_margin_frac=0.0)
    prepared = prepare(read_cases(chosen, tmp_path), chosen)
    table = prepared.manifest.table
    assert table["patient_id"].tolist() == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert table["age"].tolist() == [40, 41, 42, 43, 44, 45]
    stored = cv2.imread(str(with_manifest / "png/0.png"), cv2.IMREAD_GRAYSCALE)
    expected = cv2.resize(stored[1:21, 5:25], (32, 32), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(prepared.images[0], expected)


def test_an_empty_box_cell_means_the_centre(with_manifest: Path, tmp_path: Path) -> None:
    table = pd.read_csv(with_manifest / "manifest.csv")
    table[["bbox_x", "bbox_y", "bbox_w", "bbox_h"]] = table[["bbox_x", "bbox_y", "bbox_w", "bbox_h"]].astype(float)
    table.loc[0, ["bbox_x", "bbox_y", "bbox_w", "bbox_h"]] = np.nan
    table.to_csv(with_manifest / "manifest.csv", index=False)
    chosen = settings(with_manifest, "x")
    stored = cv2.imread(str(with_manifest / "png/0.png"), cv2.IMREAD_GRAYSCALE)
    expected = cv2.resize(stored, (32, 32), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(prepare(read_cases(chosen, tmp_path), chosen).images[0], expected)


def test_prepared_data_read_back_and_changed_data_are_refused(with_manifest: Path, tmp_path: Path) -> None:
    chosen = settings(with_manifest, "x")
    prepared = prepare(read_cases(chosen, tmp_path), chosen)
    save(prepared, tmp_path / "p")
    again = load(tmp_path / "p")
    assert again.digest == prepared.digest
    pd.testing.assert_frame_equal(again.manifest.table, prepared.manifest.table)
    np.testing.assert_array_equal(again.images, prepared.images)
    images = np.load(tmp_path / "p" / "images.npy")
    images[3, 0, 0] ^= 1
    np.save(tmp_path / "p" / "images.npy", images)
    with pytest.raises(DataError, match="changed after they were made"):
        load(tmp_path / "p")


def test_digest_follows_labels_pixels_and_size(with_manifest: Path, tmp_path: Path) -> None:
    def digest(**more: object) -> str:
        chosen = settings(with_manifest, "x", **more)
        return prepare(read_cases(chosen, tmp_path), chosen).digest

    first = digest()
    assert digest() == first
    assert digest(roi_margin_frac=0.3) != first
    edit(with_manifest, label=["y", "x"] * 3)
    assert digest() != first


def test_repeated_images_are_counted(with_manifest: Path, tmp_path: Path) -> None:
    (with_manifest / "png/5.png").write_bytes((with_manifest / "png/0.png").read_bytes())
    chosen = settings(with_manifest, "x")
    assert prepare(read_cases(chosen, tmp_path), chosen).manifest.repeated_images == 2


def test_phantom_cohorts_are_synthetic_and_share_no_patient(tmp_path: Path) -> None:
    chosen = DataConfig(
        image_size_px=32,
        phantom=PhantomConfig(gist_cases=3, leiomyoma_cases=4, selection_cases=6, fresh_cases=5),
    )
    cohorts = {which: phantom_cohort(chosen, tmp_path, which) for which in ("study", "selection", "fresh")}  # type: ignore[arg-type]
    assert {which: len(cases.table) for which, cases in cohorts.items()} == {"study": 7, "selection": 6, "fresh": 5}
    assert all(cases.synthetic for cases in cohorts.values())
    names = pd.concat([cases.table["case_id"] for cases in cohorts.values()])
    assert names.is_unique
    images = [prepare(cases, chosen).images for cases in cohorts.values()]
    flat = np.concatenate(images).reshape(18, -1)
    assert len(np.unique(flat, axis=0)) == 18
    # A copy of the folder is still known to be synthetic.
    copied = settings(cohorts["study"].root, "GIST")
    assert read_cases(copied, tmp_path).synthetic


def overwrite(root: Path, text: str) -> None:
    (root / "manifest.csv").write_text(text)


def break_image(root: Path) -> None:
    path = root / "png" / "3.png"
    path.write_bytes(path.read_bytes()[:200])


BAD = {
    "missing image": (lambda r: (r / "png/2.png").unlink(), r"2\.png of case c2 does not exist"),
    "corrupt image": (break_image, r"3\.png is damaged"),
    "no image": (lambda r: (r / "png/1.png").write_text("x"), r"1\.png is none of PNG"),
    "label typo": (lambda r: edit(r, label=[*"xyxyx", "xx"]), r"'y' \(2\), 'xx' \(1\); is 'xx' \(case c5\) a slip"),
    "one class": (lambda r: edit(r, label="x"), "all 6 cases are labelled 'x'"),
    "other classes": (lambda r: edit(r, label=list("abbabb")), r"no case is labelled 'x'; .* 'b' \(4\), 'a'"),
    "duplicate case": (lambda r: edit(r, case_id=[*"abcde", "a"]), "case_id must be unique, but a stands more"),
    "box outside": (lambda r: edit(r, bbox_w=[20] * 5 + [99]), r"5\.png: box x=5 y=6 width=99 height=10 .* 40 x 40"),
    "empty box": (lambda r: edit(r, bbox_h=0), "6 of 6 images cannot be used"),
    "box as text": (lambda r: edit(r, bbox_x=["left"] * 6), "bbox_x of case c0 is 'left', expected pixels"),
    "endless box": (lambda r: edit(r, bbox_w=[np.inf] * 6), "bbox_w of case c0 is inf, expected pixels"),
    "column twice": (lambda r: overwrite(r, "case_id,image,label, label\n1,2,3,4\n"), "'label' stands more than once"),
    "cells too many": (lambda r: overwrite(r, "case_id,image,label\na,b.png,x,1\n"), "rows with more cells"),
    "half a box": (lambda r: edit(r, bbox_x=[np.nan] + [5.0] * 5), "box of case c0 is incomplete"),
    "empty label": (lambda r: edit(r, label=[*"xyxy", "", "x"]), "label is empty in data row 5"),
    "path outside": (lambda r: edit(r, image="../../secret.png"), "must be a path below"),
    "no table": (lambda r: (r / "manifest.csv").write_text(""), r"manifest\.csv cannot be read as a table"),
    "no rows": (lambda r: (r / "manifest.csv").write_text("case_id,image,label\n"), "holds no cases"),
    "other columns": (lambda r: overwrite(r, "case,image,label\n1,2,3\n"), "lacks the column case_id; it has case"),
    "three box columns": (
        lambda r: pd.read_csv(r / "manifest.csv").drop(columns="bbox_h").to_csv(r / "manifest.csv", index=False),
        "a box needs bbox_x, bbox_y, bbox_w, bbox_h",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_by_name(name: str, with_manifest: Path) -> None:
    spoil, message = BAD[name]
    spoil(with_manifest)  # type: ignore[no-untyped-call]
    with pytest.raises(DataError, match=message):
        read(with_manifest)


def test_spaces_around_column_names_do_not_turn_names_into_numbers(with_manifest: Path) -> None:
    table = pd.read_csv(with_manifest / "manifest.csv").assign(patient_id=["007", "7", "1", "2", "3", "4"])
    table.columns = [f" {name} " for name in table.columns]
    table.to_csv(with_manifest / "manifest.csv", index=False)
    assert read(with_manifest).manifest.table["patient_id"].tolist()[:2] == ["007", "7"]


def test_every_bad_image_is_named(with_manifest: Path) -> None:
    break_image(with_manifest)
    (with_manifest / "png/2.png").unlink()
    with pytest.raises(DataError, match="2 of 6 images") as caught:
        read(with_manifest)
    assert "3.png is damaged" in str(caught.value)
    assert "2.png of case c2 does not exist" in str(caught.value)


def test_folders_that_are_none_are_refused(class_folders: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.path .*nowhere does not exist"):
        read(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="is a file"):
        read(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="neither"):
        read(tmp_path / "empty")
    (class_folders / "normal").mkdir()
    with pytest.raises(DataError, match=r"class folder .*normal holds no image"):
        read(class_folders, "benign")
    with pytest.raises(DataError, match=r"data\.path is not given"):
        read_cases(DataConfig(source="folder"), tmp_path)


def test_third_class_folder_is_refused(class_folders: Path) -> None:
    write_image(class_folders / "normal" / "a.png")
    with pytest.raises(DataError, match="exactly two classes are expected"):
        read(class_folders, "benign")


def test_near_spelling_of_the_positive_class_is_offered() -> None:
    table = pd.DataFrame({"case_id": ["a", "b"], "label": ["benign", "malignant"]})
    with pytest.raises(DataError, match=r"-P data\.positive_class=malignant"):
        two_classes(table, "Malignant", "x")
