import errno
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from PIL import Image

from eusml.__main__ import main
from eusml.config import AuditConfig, DataConfig, DicomConfig
from eusml.data.manifest import Cases
from eusml.data.pseudonyms import load_key, pseudonym
from eusml.data.sources import read_cases
from eusml.errors import DataError
from tests.dicom_files import SECRETS, UID_ROOT, dataset, region, rle, written
from tests.stores import empty_store

RNG = np.random.default_rng(3)


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (60, 80), dtype=np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes, six patients, one of them with two studies; file names that name people, as exports have them."""
    folder = tmp_path / "export"
    for number in range(7):
        label = "GIST" if number % 2 else "leiomyoma"
        patient = f"MRN-4711-{min(number, 5)}"
        found = dataset(
            picture(number),
            instance=number + 1,
            PatientID=patient,
            PatientAge=f"{40 + number:03}Y",
            PatientSex="FM"[number % 2],
            SequenceOfUltrasoundRegions=region(10, 5, 69, 54),
            BurnedInAnnotation="YES" if number == 0 else "NO",
        )
        file = folder / label / f"MUSTERMANN_ERIKA_{UID_ROOT}.{number + 1}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(written(rle(picture(number), instance=number + 1) if number == 99 else found))
    return folder


def settings(root: Path, **more: object) -> DataConfig:
    dicom = DicomConfig(key_file=root.parent / "secret" / "key", **more.pop("dicom", {}))  # type: ignore[arg-type]
    return DataConfig(source="dicom", path=root, image_size_px=32, dicom=dicom, **more)  # type: ignore[arg-type]


def read(root: Path, **more: object) -> Cases:
    return read_cases(settings(root, **more), root.parent / "work")


def test_files_become_pictures_with_pseudonyms_and_allowed_covariates(root: Path) -> None:
    cases = read(root)
    table = cases.table
    assert table["label"].value_counts().to_dict() == {"leiomyoma": 4, "GIST": 3}
    assert sorted(table["age_years"]) == [40, 41, 42, 43, 44, 45, 46]
    assert set(table["sex"]) == {"F", "M"}
    assert table["case_id"].is_unique
    assert table["patient_id"].nunique() == 6
    assert sorted(table.columns) == ["age_years", "case_id", "image", "label", "patient_id", "sex"]
    first = table[table["age_years"] == 40].iloc[0]
    stored = np.asarray(Image.open(cases.root / first["image"]))
    np.testing.assert_array_equal(stored, picture(0)[5:55, 10:70])
    assert any("1 of 7 DICOM files say that text is burned into the picture" in note for note in cases.notes)


def test_a_great_age_tells_nobody(root: Path) -> None:
    file = next(path for path in sorted(root.rglob("*")) if path.is_file())
    file.write_bytes(written(dataset(picture(1), PatientAge="097Y")))
    ages = read(root).table["age_years"]
    assert (ages.max(), (ages == 90).sum()) == (90, 1)
    file.write_bytes(written(dataset(picture(1), PatientAge="018M")))
    assert 1.5 in set(read(root).table["age_years"])


def test_files_beside_the_classes_are_excluded_under_a_pseudonym(root: Path) -> None:
    (root / "MUSTERMANN_ERIKA.dcm").write_bytes(written(dataset(picture(9))))
    (one,) = read(root).excluded
    assert one.reason == "lies beside the class folders"
    assert "MUSTERMANN" not in one.case_id


def test_the_same_key_gives_the_same_pseudonyms_and_another_key_others(root: Path) -> None:
    once = read(root).table
    again = read_cases(settings(root), root.parent / "elsewhere").table
    pd.testing.assert_frame_equal(once, again)
    (root.parent / "secret" / "key").unlink()
    other = read_cases(settings(root), root.parent / "third").table
    assert not set(once["patient_id"]) & set(other["patient_id"])


def test_a_second_start_reads_no_file_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once = read(root).table
    monkeypatch.setattr("eusml.data.sources.dicom.read_frame", lambda *_, **__: pytest.fail("was read again"))
    pd.testing.assert_frame_equal(read(root).table, once)


def test_a_file_that_was_left_out_for_its_rights_is_read_once_it_has_others(root: Path) -> None:
    file = next(path for path in sorted(root.rglob("*")) if path.is_file())
    drop, really = AuditConfig(unreadable="drop"), Path.open

    def guarded(path: Path, *rest: object, **more: object) -> object:
        if path == file:
            raise PermissionError(errno.EACCES, "Permission denied")
        return really(path, *rest, **more)  # type: ignore[call-overload]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", guarded)
        assert len(read(root, audit=drop).table) == 6
    file.chmod(0o600)
    assert len(read(root, audit=drop).table) == 7


def test_boxes_of_a_manifest_move_with_the_region(root: Path) -> None:
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    rows = pd.DataFrame([{"case_id": f"Erika {i}", "image": name, "label": name[0]} for i, name in enumerate(files)])
    rows.assign(bbox_x=20, bbox_y=15, bbox_w=9, bbox_h=8, size_mm=12.5).to_csv(root / "manifest.csv", index=False)
    cases = read(root)
    boxes = cases.table[["bbox_x", "bbox_y", "bbox_w", "bbox_h"]].drop_duplicates()
    assert boxes.to_numpy().tolist() == [[10, 10, 9, 8]]
    assert (cases.table["size_mm"] == 12.5).all()
    assert not cases.table["case_id"].str.contains("Erika").any()
    assert any("size_mm" in note for note in cases.notes)


def test_a_box_outside_the_region_is_named(root: Path) -> None:
    file = next(path for path in sorted(root.rglob("*")) if path.is_file())
    row = {
        "case_id": "a",
        "image": file.relative_to(root).as_posix(),
        "label": "x",
        "bbox_x": 0,
        "bbox_y": 0,
        "bbox_w": 9,
    }
    pd.DataFrame([{**row, "bbox_h": 9}]).to_csv(root / "manifest.csv", index=False)
    with pytest.raises(DataError, match="ultrasound region: box x=-10 y=-5"):
        read(root)


def test_a_bad_file_stops_or_is_dropped_and_counted(root: Path) -> None:
    bad = next(path for path in sorted(root.rglob("*")) if path.is_file())
    bad.write_bytes(bad.read_bytes()[:-3000])
    with pytest.raises(DataError, match="1 of 7 DICOM files cannot be used") as caught:
        read(root)
    assert str(bad) in str(caught.value)
    cases = read(root, audit=AuditConfig(unreadable="drop"))
    assert len(cases.table) == 6
    assert [one.reason for one in cases.excluded] == ["unreadable"]
    assert "MUSTERMANN" not in cases.excluded[0].case_id


def test_the_frame_is_a_setting(root: Path) -> None:
    file = next(path for path in sorted(root.rglob("*")) if path.is_file())
    file.write_bytes(written(dataset(np.stack([np.full((30, 40), level, np.uint8) for level in (10, 60, 110)]))))
    for frame, level in (("first", 10), ("middle", 60), ("last", 110)):
        cases = read(root, dicom={"frame": frame})
        levels = {int(np.asarray(Image.open(cases.root / name)).max()) for name in cases.table["image"]}
        assert level in levels
        assert not levels & ({10, 60, 110} - {level})


@pytest.mark.parametrize("place", ["export/key", "work/key"])
def test_the_key_must_lie_outside(root: Path, place: str) -> None:
    chosen = settings(root).model_copy(update={"dicom": DicomConfig(key_file=root.parent / place)})
    with pytest.raises(DataError, match="who has both can find out"):
        read_cases(chosen, root.parent / "work")


def test_a_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    key = load_key(tmp_path / "a" / "key")
    assert load_key(tmp_path / "a" / "key") == key
    assert len(key) == 32
    assert (tmp_path / "a" / "key").stat().st_mode & 0o077 == 0
    assert pseudonym(key, "patient", "x") != pseudonym(key, "case", "x")
    (tmp_path / "short").write_text("abcd\n")
    with pytest.raises(DataError, match="2 bytes, expected 32"):
        load_key(tmp_path / "short")


def run_data(root: Path, monkeypatch: pytest.MonkeyPatch, **more: object) -> int:
    monkeypatch.chdir(root.parent)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_store(root.parent))
    values = {
        "experiment": Path(__file__).parents[1] / "experiments" / "folder.yaml",
        "data.source": "dicom",
        "data.path": root,
        "data.image_size_px": 32,
        "data.dicom.key_file": root.parent / "secret" / "key",
        "data.audit.patient_conflicts": "keep",
        "split.test_frac": 0.4,
        "work_dir": "work",
    }
    words = [word for name, value in (values | more).items() for word in (f"--{name}", str(value))]
    return main(["data", *words])


def assert_nobody_is_named(root: Path) -> None:
    """In no file beside the export itself, nor in a file's name."""
    secrets = [*SECRETS.values(), UID_ROOT, "MRN-4711", "MUSTERMANN", "Erika"]
    known = [text.encode() for secret in secrets for text in (secret, secret.upper(), secret.lower())]
    files = [path for path in root.parent.rglob("*") if path.is_file() and not path.is_relative_to(root)]
    assert any(path.suffix == ".db" for path in files)
    for path in files:
        content, name = path.read_bytes(), str(path.relative_to(root.parent)).encode()
        leaked = [secret for secret in known if secret in content or secret in name]
        assert not leaked, f"{path} holds {leaked}"


@pytest.mark.slow
def test_nothing_that_names_a_patient_is_written_or_logged(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_data(root, monkeypatch) == 0, capsys.readouterr().err
    assert MlflowClient().search_runs(["0"], "attributes.status = 'FINISHED'")
    assert any(path.name == "findings.csv" for path in root.parent.rglob("*"))
    assert_nobody_is_named(root)
    said = capsys.readouterr()
    assert not [secret for secret in [*SECRETS.values(), "MUSTERMANN"] if secret in said.out + said.err]


@pytest.mark.slow
def test_a_failed_run_names_the_file_to_the_user_and_to_nobody_else(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = sorted(path for path in root.rglob("*") if path.is_file())[-1]
    bad.write_bytes(bad.read_bytes()[:-3000])
    assert run_data(root, monkeypatch) == 2
    assert str(bad) in capsys.readouterr().err
    (run,) = MlflowClient().search_runs(["0"])
    assert run.info.status == "FAILED"
    assert "on the terminal only" in run.data.tags["eusml.error"]
    assert_nobody_is_named(root)
    assert run_data(root, monkeypatch, **{"data.audit.unreadable": "drop"}) == 0, capsys.readouterr().err
    assert "1 of 7 DICOM files could not be read" in capsys.readouterr().out
    assert_nobody_is_named(root)
