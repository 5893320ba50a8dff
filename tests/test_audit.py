from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eusml.config import AuditConfig, DataConfig, SplitConfig
from eusml.data.audit import audit
from eusml.data.findings import Audit, load_audit, save_audit
from eusml.data.groups import joined
from eusml.data.images import encode_png
from eusml.data.ingest import ingest
from eusml.data.manifest import Cases, Exclusion
from eusml.data.prepare import assemble
from eusml.data.split import Split, check_split, make_split
from eusml.errors import DataError, LeakageError
from eusml.evaluation.audit_page import audit_page
from tests.pictures import speckled


def cohort(root: Path, pictures: list[np.ndarray], labels: str, **columns: object) -> Cases:
    """Cases `c0`, `c1`, … of one picture each; one letter of `labels` each."""
    root.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        (root / f"{number}.png").write_bytes(encode_png(picture))
    ids = [f"c{number}" for number in range(len(pictures))]
    table = pd.DataFrame({"case_id": ids, "patient_id": ids, "image": [f"{i}.png" for i in range(len(ids))]})
    return Cases(root, table.assign(label=list(labels), **columns), "folder x", synthetic=False)


def audited(cases: Cases, **settings: object) -> Audit:
    return audit(cases, ingest(cases, DataConfig(source="folder", image_size_px=32)), AuditConfig(**settings))  # type: ignore[arg-type]


def kinds(found: Audit) -> list[tuple[str, str]]:
    return [(finding.kind, finding.decision) for finding in found.findings]


PICTURES = [speckled(seed) for seed in range(6)]


def test_a_sound_cohort_has_no_findings(tmp_path: Path) -> None:
    found = audited(cohort(tmp_path, PICTURES, "aaabbb"))
    assert found.findings == ()
    assert found.kept.all()
    assert len(set(found.groups)) == 6
    assert found.flow.to_dict("records") == [{"step": "found", "cases": 6}, {"step": "kept", "cases": 6}]


def test_the_same_picture_is_grouped_and_no_split_parts_it(tmp_path: Path) -> None:
    pictures = [*PICTURES, PICTURES[0][:, ::-1].copy(), PICTURES[0][2:, 3:].copy(), PICTURES[5]]
    cases = cohort(tmp_path, pictures, "aaabbbaab")
    found = audited(cases)
    assert set(kinds(found)) == {("same picture", "grouped")}
    assert found.groups[0] == found.groups[6] == found.groups[7]
    assert found.groups[5] == found.groups[8]
    assert len(set(found.groups)) == 6
    settings = DataConfig(source="folder", image_size_px=32, positive_class="a")
    manifest = assemble(cases, settings, ingest(cases, settings), found).manifest
    for seed in range(20):
        split = make_split(manifest, SplitConfig(seed=seed, test_frac=0.3))
        sides = split.table["partition"].tolist()
        assert sides[0] == sides[6] == sides[7]
        assert sides[5] == sides[8]
    parted = Split(split.table.assign(partition=["test", "train", "train"] * 3))
    with pytest.raises(LeakageError, match="nearly the same image stands in both train and test"):
        check_split(parted, manifest)


CONFLICT = {"stop": (9, True), "keep": (9, False), "drop": (8, False), "drop_both": (6, False)}


@pytest.mark.parametrize("way", CONFLICT)
def test_one_picture_under_two_labels_is_decided_on(way: str, tmp_path: Path) -> None:
    # c0, c6 and c7 are one picture, twice a and once b.
    pictures = [*PICTURES, PICTURES[0], PICTURES[0][::-1].copy(), PICTURES[1] // 2]
    found = audited(cohort(tmp_path, pictures, "aaabbbbaa"), label_conflicts=way)
    kept, stops = CONFLICT[way]
    assert found.kept.sum() == kept
    assert bool(found.blocking) is stops
    conflict = next(finding for finding in found.findings if finding.kind == "same picture, two labels")
    assert conflict.cases == ("c0", "c6", "c7")
    if way == "drop":
        assert not found.kept[6]  # the first one's label stands
    if stops:
        with pytest.raises(DataError, match=r"(?s)c0 is a, c6 is b, c7 is a.*label_conflicts=drop_both.*all: page"):
            found.stop("all: page")


@pytest.mark.parametrize(("way", "kept"), [("stop", 6), ("keep", 6), ("drop_both", 4)])
def test_a_patient_under_two_labels_is_decided_on(way: str, kept: int, tmp_path: Path) -> None:
    cases = cohort(tmp_path, PICTURES, "aaabbb", patient_id=["p", "q", "r", "p", "s", "t"])
    found = audited(cases, patient_conflicts=way)
    assert found.kept.sum() == kept
    assert bool(found.blocking) is (way == "stop")
    assert found.groups[0] == found.groups[3]


def test_unreadable_and_blank_files_are_counted_in_the_flow(tmp_path: Path) -> None:
    pictures = [*PICTURES, np.full((60, 60), 7, np.uint8)]
    cases = cohort(tmp_path, pictures, "aaabbba")
    (tmp_path / "1.png").write_bytes(b"no image")
    (tmp_path / "2.png").unlink()
    left_out = tuple(Exclusion(f"n{i}", "normal: no lesion") for i in range(3))
    cases = Cases(cases.root, cases.table, cases.source, False, left_out, ("Says the source.",))
    found = audited(cases, unreadable="drop", blank="drop")
    assert found.flow.set_index("step")["cases"].to_dict() == {
        "found": 10,
        "excluded: normal: no lesion": 3,
        "excluded: unreadable": 2,
        "excluded: blank": 1,
        "kept": 4,
    }
    details = [finding.detail for finding in found.findings if finding.kind == "unreadable"]
    assert "1.png is none of PNG" in details[0]
    assert "2.png of case c2 does not exist" in details[1]
    assert ("source", "reported") in kinds(found)
    assert len(audited(cases).blocking) == 2


def test_two_blank_pictures_are_not_the_same_picture(tmp_path: Path) -> None:
    found = audited(cohort(tmp_path, [*PICTURES, *[np.full((60, 60), 7, np.uint8)] * 2], "aaabbbab"))
    assert kinds(found) == [("blank", "kept"), ("blank", "kept")]


def test_copies_across_published_folds_are_reported(tmp_path: Path) -> None:
    pictures = [*PICTURES, PICTURES[0][::-1].copy(), PICTURES[1][::-1].copy()]
    found = audited(cohort(tmp_path, pictures, "aaabbbaa", published_fold=[0, 1, 2, 0, 1, 2, 1, 1]))
    (finding,) = [finding for finding in found.findings if finding.kind == "same picture, two folds"]
    assert finding.cases == ("c0", "c6")
    assert "1 pairs" in finding.detail


def test_covariates_and_rare_classes_are_reported(tmp_path: Path) -> None:
    cases = cohort(tmp_path, [speckled(seed) for seed in range(21)], "a" * 20 + "b",
                   size_mm=[10.0] * 19 + [np.nan, -1.0], age_years=[50] * 20 + [500])  # fmt: skip
    details = " ".join(finding.detail for finding in audited(cases).findings)
    assert "size_mm is missing for 1 of 21 cases" in details
    assert "size_mm lies outside 0.5 to 500 for c20: -1" in details
    assert "age_years lies outside 0 to 120 for c20: 500" in details
    assert "only 1 of 21 cases are b" in details


def test_drawn_marks_are_counted_per_class(tmp_path: Path) -> None:
    pictures = [speckled(seed, side=200) // 2 for seed in range(4)]
    for place in ((60, 60), (120, 140)):
        cv2.drawMarker(pictures[3], place, 255, cv2.MARKER_CROSS, 12, 1)
    cv2.putText(pictures[3], "RT 12", (70, 110), cv2.FONT_HERSHEY_PLAIN, 1.0, 255, 1)
    found = audited(cohort(tmp_path, pictures, "aabb"))
    assert [finding.cases for finding in found.findings] == [("c3",)]
    assert "1 of 4 regions of interest" in found.findings[0].detail
    assert "(a 0/2, b 1/2)" in found.findings[0].detail


def test_marks_outside_the_region_are_not_counted(tmp_path: Path) -> None:
    pictures = [speckled(seed, side=200) // 2 for seed in range(4)]
    cv2.putText(pictures[3], "RT 12", (10, 190), cv2.FONT_HERSHEY_PLAIN, 1.0, 255, 1)
    inside, outside = {"bbox_x": 5, "bbox_y": 150, "bbox_w": 90, "bbox_h": 45}, {"bbox_x": 20, "bbox_y": 20}
    assert audited(cohort(tmp_path, pictures, "aabb", **{**inside, **outside})).findings == ()
    assert len(audited(cohort(tmp_path, pictures, "aabb", **inside)).findings) == 1


def test_an_audit_reads_back(tmp_path: Path) -> None:
    found = audited(cohort(tmp_path / "x", [*PICTURES, PICTURES[0][::-1].copy()], "aaabbba"))
    save_audit(found, tmp_path / "audit.json")
    again = load_audit(tmp_path / "audit.json")
    assert (again.findings, again.pairs) == (found.findings, found.pairs)
    np.testing.assert_array_equal(again.kept, found.kept)
    np.testing.assert_array_equal(again.groups, found.groups)
    pd.testing.assert_frame_equal(again.flow, found.flow)
    (tmp_path / "audit.json").write_text("{}")
    with pytest.raises(DataError, match=r"audit\.json cannot be read"):
        load_audit(tmp_path / "audit.json")


def test_the_page_shows_pictures_only_when_it_is_given_them(tmp_path: Path) -> None:
    cases = cohort(tmp_path, [*PICTURES, PICTURES[0][::-1].copy()], "aaabbbb")
    cases.table.loc[0, "case_id"] = "<script>alert(1)</script>"
    ingested = ingest(cases, DataConfig(source="folder", image_size_px=32))
    found = audit(cases, ingested, AuditConfig())
    bare = audit_page(found, cases.table, "x & y", synthetic=False)
    assert "<img" not in bare
    assert "<script" not in bare
    assert bare.count("x &amp; y") == 2  # as title and as heading
    assert "x & y" not in bare
    assert "SYNTHETIC" not in bare
    assert "two labels" in bare
    full = audit_page(found, cases.table, "x", synthetic=True, sketches=ingested.sketches)
    assert full.count("<img") == len(found.pairs) == 1
    assert "SYNTHETIC DATA - not patients" in full


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12),
    st.lists(st.integers(0, 4), min_size=10, max_size=10),
)
def test_groups_are_the_connected_parts(pairs: list[tuple[int, int]], names: list[int]) -> None:
    found = joined(10, [names], pairs)
    # Oracle: names spread along pairs and equal names until nothing changes.
    part = list(range(10))
    for _ in range(10):
        for i in range(10):
            for j in range(10):
                if names[i] == names[j] or (i, j) in pairs or (j, i) in pairs:
                    part[i] = part[j] = min(part[i], part[j])
    for i in range(10):
        for j in range(10):
            assert (found[i] == found[j]) == (part[i] == part[j])
