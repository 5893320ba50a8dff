"""The synthetic phantom: margins of Table 1, the physics of speckle, agreement of views, files that repeat."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eusml.data.phantom import TABLE_1, PhantomCase, render, sample_cohort, write_cohort
from eusml.data.phantom.cohort import largest_remainder
from eusml.data.phantom.fields import DiscField
from eusml.data.phantom.geometry import draw_geometry
from eusml.data.phantom.physics import speckle_intensity
from eusml.data.phantom.writing import COVARIATES
from eusml.errors import DataError


@pytest.fixture(scope="module")
def study() -> list[PhantomCase]:
    return sample_cohort(69, 73, mode="quota", probe="by_size", seed=0)


@pytest.fixture(scope="module")
def many() -> list[PhantomCase]:
    return sample_cohort(2000, 2000, mode="independent", probe="by_size", seed=5)


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Share of pairs in which the positive scores higher."""
    higher = score[positive][:, None] > score[~positive][None, :]
    return float(higher.mean())


def of_class(cases: list[PhantomCase], label: str) -> list[PhantomCase]:
    return [case for case in cases if case.label == label]


@pytest.mark.parametrize("label", ["GIST", "leiomyoma"])
def test_quota_cohort_is_table_1(study, label):
    cases, margins = of_class(study, label), TABLE_1[label]
    assert len(cases) == margins.cases
    for name, counts in margins.counts.items():
        found = Counter(getattr(case, name) for case in cases)
        assert {value: found[value] for value in counts} == dict(counts), name
    for name in ("age_years", "size_mm"):
        values, target = np.array([getattr(case, name) for case in cases]), getattr(margins, name)
        assert values.mean() == pytest.approx(target.mean, abs=0.05)
        assert values.std(ddof=1) == pytest.approx(target.sd, abs=0.05)
        assert target.low <= values.min() <= values.max() <= target.high


def test_other_numbers_are_scaled_by_largest_remainder():
    assert largest_remainder(np.array([26, 43]), 69).tolist() == [26, 43]
    assert largest_remainder(np.array([1, 1, 1]), 4).tolist() == [2, 1, 1]
    assert largest_remainder(np.array([6, 3, 1]), 5).tolist() == [3, 2, 0]
    cases = sample_cohort(14, 0, mode="quota", probe="by_size", seed=0)
    assert Counter(case.sex for case in cases) == {"male": 5, "female": 9}
    assert len(sample_cohort(1, 2, mode="quota", probe="random", seed=0)) == 3


def test_independent_cohort_has_no_empty_cells(many):
    leiomyomas = of_class(many, "leiomyoma")
    assert {case.surface for case in leiomyomas} == {"smooth", "ulcer", "erosion"}
    share = np.mean([case.layer == "muscularis mucosae" for case in leiomyomas])
    assert share == pytest.approx(26.5 / 74.5, abs=0.05)


def test_probe_follows_size_unless_random(many):
    def high_share(cases, low_mm, high_mm):
        return np.mean([case.probe_mhz == 20.0 for case in cases if low_mm <= case.size_mm < high_mm])

    assert high_share(many, 3, 6) > 0.9
    assert high_share(many, 12, 14) == pytest.approx(0.5, abs=0.1)
    assert high_share(many, 25, 65) < 0.05
    blind = sample_cohort(500, 500, mode="independent", probe="random", seed=5)
    assert high_share(blind, 3, 65) == pytest.approx(0.5, abs=0.06)


def test_cohorts_repeat_and_differ_by_seed(study):
    again = sample_cohort(69, 73, mode="quota", probe="by_size", seed=0)
    other = sample_cohort(69, 73, mode="quota", probe="by_size", seed=1, prefix="V")
    assert again == study
    assert not {case.seed for case in study} & {case.seed for case in other}
    assert [case.case_id for case in other[:2]] == ["V0001", "V0002"]
    # The number must not tell the class.
    gist = np.array([case.label == "GIST" for case in study])
    assert 0.3 < auc(np.arange(len(study)).astype(float), gist) < 0.7


def test_wrong_arguments_are_named(study):
    with pytest.raises(DataError, match="-1 GIST"):
        sample_cohort(-1, 2, mode="quota", probe="by_size", seed=0)
    with pytest.raises(DataError, match="'exact'; allowed are quota, independent"):
        sample_cohort(1, 2, mode="exact", probe="by_size", seed=0)
    with pytest.raises(DataError, match="seed"):
        sample_cohort(1, 2, mode="quota", probe="by_size", seed=-1)
    with pytest.raises(DataError, match="allowed are roi, frame"):
        render(study[0], size_px=64, view="lesion")
    with pytest.raises(DataError, match="4 px"):
        render(study[0], size_px=4, view="roi")


@pytest.mark.parametrize("sigma", [0.7, 2.5])
def test_speckle_is_fully_developed(sigma):
    rows, lines = 600, 800
    intensity = speckle_intensity(
        np.zeros((rows, lines), np.float32),
        lateral_sigma_lines=np.full(rows, sigma, np.float32),
        axial_sigma_samples=sigma,
        rng=np.random.default_rng(0),
    )[20:-20]
    assert intensity.dtype == np.float32
    envelope = np.sqrt(intensity)
    assert envelope.mean() / envelope.std() == pytest.approx(1.913, abs=0.04)
    assert (10 * np.log10(intensity)).std() == pytest.approx(5.57, abs=0.1)
    assert intensity.mean() == pytest.approx(0.5, rel=0.04)


def test_speckle_follows_the_level_and_the_beam():
    level = np.zeros((200, 256), np.float32)
    level[100:] = -20
    widths = np.linspace(1, 6, 200, dtype=np.float32)
    intensity = speckle_intensity(
        level, lateral_sigma_lines=widths, axial_sigma_samples=1.0, rng=np.random.default_rng(1)
    )
    assert 10 * np.log10(intensity[110:].mean() / intensity[:90].mean()) == pytest.approx(-20, abs=1)
    # A wider beam makes longer speckles: neighbouring lines agree more.
    near, far = (
        np.corrcoef(part[:, :-1].ravel(), part[:, 1:].ravel())[0, 1] for part in (intensity[:30], intensity[170:])
    )
    assert far > near + 0.1


def test_fields_depend_on_position_alone_and_have_no_seam():
    field = DiscField.draw(np.random.default_rng(0), radius_mm=20.0, radial_mm=1.0, angular_rad=0.15)
    r, theta = np.linspace(0, 20, 81, dtype=np.float32), np.linspace(-np.pi, np.pi, 181, dtype=np.float32)
    whole = field.at(r, theta)
    assert np.allclose(whole[:, 0], whole[:, -1], atol=1e-3)
    assert np.allclose(field.at(r[10:30], theta[50:70]), whole[10:30, 50:70], atol=1e-5)
    step = np.abs(np.diff(whole, axis=1)).mean(axis=0)
    across = np.abs(field.at(r, theta[:1] + np.float32(0.0349)) - field.at(r, theta[-1:])).mean()
    assert across < 3 * step.mean()
    assert whole.var() == pytest.approx(1, abs=0.2)


def test_a_case_always_looks_the_same_and_cases_differ(study):
    first, second = (render(study[0], size_px=64, view="roi") for _ in range(2))
    assert first.image.tobytes() == second.image.tobytes()
    assert first.box_px == second.box_px
    assert first.image.dtype == np.uint8
    assert first.image.shape == (64, 64)
    other = render(replace(study[0], seed=study[0].seed + 1), size_px=64, view="roi")
    assert not np.array_equal(first.image, other.image)
    # The picture knows the label only through what it shows.
    renamed = replace(study[0], label="GIST" if study[0].label == "leiomyoma" else "leiomyoma", case_id="X")
    assert np.array_equal(render(renamed, size_px=64, view="roi").image, first.image)


def box_content(case: PhantomCase, view: str, size_px: int) -> np.ndarray:
    """The lesion's box, low-passed to 12 x 12 so that the single speckles, which views do not share, average out."""
    rendered = render(case, size_px=size_px, view=view)
    x, y, w, h = rendered.box_px
    return cv2.resize(rendered.image[y : y + h, x : x + w].astype(np.float32), (12, 12), interpolation=cv2.INTER_AREA)


def test_both_views_show_the_same_lesion(study):
    cases = [case for case in study if case.size_mm > 8][:16]
    regions = [box_content(case, "roi", 128).ravel() for case in cases]
    frames = [box_content(case, "frame", 512).ravel() for case in cases]
    agreement = np.corrcoef(regions, frames)[: len(cases), len(cases) :]
    same, different = np.diag(agreement), agreement[~np.eye(len(cases), dtype=bool)]
    assert same.mean() > 0.75
    assert same.min() > 0.4
    assert different.mean() < 0.4
    assert np.mean(agreement.argmax(axis=1) == np.arange(len(cases))) > 0.9


def test_box_holds_the_lesion(study):
    for case in study[:30]:
        for view in ("roi", "frame"):
            rendered = render(case, size_px=96, view=view)
            x, y, w, h = rendered.box_px
            assert min(x, y) >= 0
            assert max(x + w, y + h) <= 96
            diagonal_mm = np.hypot(w, h) * rendered.mm_per_px
            assert 0.7 * case.size_mm < diagonal_mm < 1.9 * case.size_mm + 3 * rendered.mm_per_px
            if view == "frame":
                geometry = draw_geometry(case)
                centre = 48 + geometry.lesion_mm / rendered.mm_per_px * np.array(
                    [np.cos(geometry.clock_rad), np.sin(geometry.clock_rad)]
                )
                assert np.all(np.abs(centre - (x + w / 2, y + h / 2)) < 0.25 * max(w, h) + 1.5)


def test_only_frames_are_drawn_into(study):
    frame = render(study[0], size_px=512, view="frame").image
    assert (frame[6:18, 6:66] == 200).sum() > 50, "SYNTHETIC is missing"
    assert (frame[-18:, 6:60] == 200).sum() > 20, "the frequency is missing"
    assert frame[-1, -1] == 0


def test_shadow_lies_behind_a_calcification(study):
    plain = replace(next(case for case in study if case.size_mm > 20), calcification=False, anechoic_area=False, foci=0)
    chalk = replace(plain, calcification=True)
    geometry = draw_geometry(plain)
    before, after = (render(case, size_px=256, view="frame").image.astype(float) for case in (plain, chalk))
    darker = before - after
    mm = np.arange(256) * 2 * geometry.radius_mm / 256 - geometry.radius_mm
    radius = np.hypot(mm[None, :], mm[:, None])
    behind = radius > geometry.lesion_mm + geometry.half_thickness_mm
    assert darker[behind].max() > 60
    assert np.mean(darker[behind]) > np.mean(darker[radius < geometry.wall_mm - geometry.half_thickness_mm]) + 1


def test_size_tells_the_class_and_brightness_does_not():
    cases = sample_cohort(70, 70, mode="independent", probe="by_size", seed=11)
    gist = np.array([case.label == "GIST" for case in cases])
    brightness = np.array([render(case, size_px=64, view="roi").image.mean() for case in cases])
    assert auc(np.array([case.size_mm for case in cases]), gist) > 0.8
    assert 0.35 < auc(brightness, gist) < 0.65
    assert 30 < brightness.mean() < 130


def test_written_cohort_is_what_a_user_folder_looks_like(study, tmp_path):
    seen: list[str] = []

    def watch(items):
        for item in items:
            seen.append(item.case_id)
            yield item

    table = write_cohort(tmp_path / "a" / "frames", study[:3], view="frame", size_px=128, progress=watch)
    assert seen == [case.case_id for case in study[:3]]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["frames"], "temporary files were left behind"
    read = pd.read_csv(tmp_path / "a" / "frames" / "manifest.csv")
    pd.testing.assert_frame_equal(read, table, check_dtype=False)
    boxes = ["bbox_x", "bbox_y", "bbox_w", "bbox_h"]
    assert list(read.columns) == ["case_id", "patient_id", "image", "label", *boxes, "synthetic", *COVARIATES]
    assert read["synthetic"].all()
    for case, row in zip(study[:3], read.itertuples(), strict=True):
        rendered = render(case, size_px=128, view="frame")
        with Image.open(tmp_path / "a" / "frames" / row.image) as image:
            assert image.mode == "L"
            assert np.array_equal(np.asarray(image), rendered.image)
            assert image.text["SYNTHETIC"] == "yes, not a patient"
            assert image.text["case_id"] == case.case_id
        assert (row.bbox_x, row.bbox_y, row.bbox_w, row.bbox_h) == rendered.box_px
    regions = write_cohort(tmp_path / "regions", study[:2], view="roi", size_px=64)
    assert not set(boxes) & set(regions.columns)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_bytes_do_not_depend_on_the_number_of_workers(study, tmp_path, monkeypatch):
    # The new processes may also compute with more threads than this one: BLAS would round otherwise then.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "2")
    for workers in (1, 2):
        write_cohort(tmp_path / str(workers), study[:20], view="roi", size_px=224, workers=workers)
    alone, together = contents(tmp_path / "1"), contents(tmp_path / "2")
    assert len(alone) == 21
    assert alone == together


def test_nothing_half_written_is_left(study, tmp_path):
    def stop(items):
        yield from items[:1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_cohort(tmp_path / "cohort", study[:3], view="roi", size_px=32, progress=stop)
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match="no cases"):
        write_cohort(tmp_path / "cohort", [], view="roi", size_px=32)
    with pytest.raises(DataError, match="more than once"):
        write_cohort(tmp_path / "cohort", [study[0], study[0]], view="roi", size_px=32)
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / "mine.txt").touch()
    with pytest.raises(DataError, match="exists already"):
        write_cohort(tmp_path / "cohort", study[:1], view="roi", size_px=32)
