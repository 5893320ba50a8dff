from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eusml.config import AugmentConfig, ProtocolConfig, SplitConfig
from eusml.data.augment import expand
from eusml.data.manifest import Manifest
from eusml.data.split import Split, check_split, everyone, inner_folds, make_split, outer_folds
from eusml.errors import DataError, LeakageError


def manifest_of(rows: list[tuple[str, str]], pictures: list[int] | None = None) -> Manifest:
    """From (patient, label) pairs; equal numbers in `pictures` are equal images, by default all differ."""
    table = pd.DataFrame(
        {
            "case_id": [f"c{i}" for i in range(len(rows))],
            "patient_id": [patient for patient, _ in rows],
            "label": [label for _, label in rows],
            "pixels_sha256": [f"picture {i}" for i in pictures or range(len(rows))],
        }
    )
    table["y_true"] = (table["label"] == "a").astype(np.int64)
    return Manifest(table, "made up", True, "a", "b")


STUDY = manifest_of([(f"p{i}", "a" if i < 69 else "b") for i in range(142)])


def test_the_study_is_split_as_in_the_paper() -> None:
    split = make_split(STUDY, SplitConfig())
    counts = split.table.groupby(["partition", "label"]).size().to_dict()
    assert counts == {("train", "a"): 55, ("train", "b"): 58, ("test", "a"): 14, ("test", "b"): 15}


def test_the_draw_follows_the_seed_and_not_the_order_of_rows() -> None:
    def held_out(manifest: Manifest, seed: int) -> set[str]:
        table = make_split(manifest, SplitConfig(seed=seed)).table
        return set(table.loc[table["partition"] == "test", "patient_id"])

    shuffled = Manifest(STUDY.table.sample(frac=1, random_state=0).reset_index(drop=True), "", True, "a", "b")
    assert held_out(STUDY, 0) == held_out(shuffled, 0)
    assert held_out(STUDY, 0) != held_out(STUDY, 1)


PATIENTS = st.lists(st.tuples(st.integers(1, 4), st.sampled_from("ab")), min_size=12, max_size=60)


@settings(max_examples=60)
@given(patients=PATIENTS, seed=st.integers(0, 99), folds=st.sampled_from([None, 2, 4]))
def test_no_patient_and_no_copy_stands_on_both_sides(
    patients: list[tuple[int, str]], seed: int, folds: int | None
) -> None:
    rows = [(f"p{i}", label) for i, (count, label) in enumerate(patients) for _ in range(count)]
    if min(sum(label == side for _, label in patients) for side in "ab") < 8:
        rows += [(f"extra-{side}{i}", side) for side in "ab" for i in range(8)]
    manifest = manifest_of(rows)
    split = make_split(manifest, SplitConfig(seed=seed, folds=folds, fold=(folds or 1) - 1))
    train, test = split.indices("train"), split.indices("test")
    assert sorted([*train, *test]) == list(range(len(rows)))
    # Augmented copies carry their parent: none of a held-out case, none of a held-out patient.
    images = np.zeros((len(rows), 8, 8), np.uint8)
    expanded = expand(images[train], manifest.table["case_id"].iloc[train].tolist(), AugmentConfig(operations=("log",)))
    trained_on = manifest.table.iloc[train[expanded.parent]]
    reported = manifest.table.iloc[test]
    assert not set(trained_on["case_id"]) & set(reported["case_id"])
    assert not set(trained_on["patient_id"]) & set(reported["patient_id"])
    for partition in (trained_on, reported):
        assert set(partition["label"]) == {"a", "b"}


@settings(max_examples=40)
@given(patients=PATIENTS, seed=st.integers(0, 99))
def test_each_class_is_held_out_in_the_asked_share_within_one_patient(
    patients: list[tuple[int, str]], seed: int
) -> None:
    rows = [(f"p{i}", label) for i, (count, label) in enumerate(patients) for _ in range(count)]
    rows += [(f"extra-{side}{i}", side) for side in "ab" for i in range(8)]
    split = make_split(manifest_of(rows), SplitConfig(seed=seed, test_frac=0.3))
    for label in "ab":
        of_class = split.table[split.table["label"] == label]
        assert abs((of_class["partition"] == "test").sum() - 0.3 * len(of_class)) <= 4


@pytest.mark.parametrize(("sizes", "test_frac"), [((10, 10), 0.2), ((10, 10, 10, 10, 10), 0.1), ((12, 9, 30), 0.05)])
def test_a_hold_out_holds_somebody_out_where_every_patient_is_more_than_the_share(
    sizes: tuple[int, ...], test_frac: float
) -> None:
    rows = [(f"{label}{i}", label) for label in "ab" for i, size in enumerate(sizes) for _ in range(size)]
    table = make_split(manifest_of(rows), SplitConfig(test_frac=test_frac)).table
    held_out = table[table["partition"] == "test"].groupby("label")["patient_id"].nunique()
    assert held_out.to_dict() == {"a": 1, "b": 1}


def test_two_patients_with_both_classes_each_cannot_be_parted() -> None:
    rows = [("p", "a"), ("p", "b"), ("q", "b"), ("q", "a")]
    with pytest.raises(DataError, match="nobody can be held out"):
        make_split(manifest_of(rows), SplitConfig())


def test_folds_hold_out_every_case_once() -> None:
    held_out = [set(make_split(STUDY, SplitConfig(folds=5, fold=fold)).indices("test").tolist()) for fold in range(5)]
    assert sorted(case for fold in held_out for case in fold) == list(range(142))


def test_digest_follows_the_table() -> None:
    a, b = (make_split(STUDY, SplitConfig(seed=seed)) for seed in (0, 1))
    assert a.digest == make_split(STUDY, SplitConfig()).digest
    assert a.digest != b.digest


def changed(**columns: object) -> Split:
    return Split(make_split(STUDY, SplitConfig()).table.assign(**columns))


def test_a_split_of_another_manifest_is_refused() -> None:
    with pytest.raises(DataError, match="does not fit the manifest: only one of them has case c141, x"):
        check_split(changed(case_id=[*STUDY.table["case_id"][:-1], "x"]), STUDY)
    with pytest.raises(DataError, match="order, patients or labels differ"):
        check_split(changed(label="a"), STUDY)


def test_a_patient_on_both_sides_is_a_leak() -> None:
    manifest = manifest_of([("same", "a"), ("same", "a"), ("x", "b"), ("y", "b")])
    split = Split(
        manifest.table[["case_id", "patient_id", "label"]].assign(partition=["train", "test", "train", "test"])
    )
    with pytest.raises(LeakageError, match="patient same stands in both"):
        check_split(split, manifest)


@settings(max_examples=60)
@given(
    shares=st.lists(st.booleans(), min_size=40, max_size=40),
    seed=st.integers(0, 99),
    folds=st.sampled_from([None, 2]),
)
def test_the_same_image_never_stands_on_both_sides(shares: list[bool], seed: int, folds: int | None) -> None:
    # Forty patients with two images each; the second may be one that up to four patients have in common.
    rows = [(f"p{patient}", "ab"[patient // 4 % 2]) for patient in range(40) for _ in range(2)]
    pictures = []
    for patient, shared in enumerate(shares):
        pictures += [1000 + patient, patient // 4 if shared else 2000 + patient]
    split = make_split(manifest_of(rows, pictures), SplitConfig(seed=seed, folds=folds))
    sides = split.table.assign(picture=pictures)
    assert (sides.groupby("picture")["partition"].nunique() == 1).all()
    assert (sides.groupby("patient_id")["partition"].nunique() == 1).all()


def test_the_same_image_on_both_sides_is_a_leak() -> None:
    manifest = manifest_of([("p", "a"), ("q", "a"), ("x", "b"), ("y", "b")], [1, 1, 2, 3])
    split = Split(
        manifest.table[["case_id", "patient_id", "label"]].assign(partition=["train", "test", "train", "test"])
    )
    with pytest.raises(LeakageError, match="the same image stands in both train and test, as case c0, c1"):
        check_split(split, manifest)


def test_too_few_patients_are_an_error() -> None:
    few = manifest_of([("p0", "a"), ("p0", "a"), ("p1", "a"), *[(f"q{i}", "b") for i in range(9)]])
    with pytest.raises(DataError, match=r"class 'a' has 2 patients, but split\.folds is 5"):
        make_split(few, SplitConfig(folds=5))
    with pytest.raises(DataError, match="class 'a' has 1 patients, but a hold-out needs 2"):
        make_split(manifest_of([("p0", "a"), ("p1", "b"), ("p2", "b")]), SplitConfig())


def test_a_table_reads_back_with_the_same_digest(tmp_path: Path) -> None:
    split = make_split(STUDY, SplitConfig())
    split.table.to_csv(tmp_path / "split.csv", index=False)
    assert Split(pd.read_csv(tmp_path / "split.csv")).digest == split.digest


def published(folds: list[int], groups: list[str] | None = None) -> Manifest:
    rows = [(f"p{i}", "ab"[i % 2]) for i in range(len(folds))]
    manifest = manifest_of(rows)
    table = manifest.table.assign(published_fold=folds)
    return replace(manifest, table=table if groups is None else table.assign(group_id=groups))


def test_a_published_fold_is_held_out_as_it_is() -> None:
    manifest = published([0, 0, 1, 1, 2, 2])
    split = make_split(manifest, SplitConfig(published=True, fold=1))
    assert split.table["partition"].tolist() == ["train", "train", "test", "test", "train", "train"]
    with pytest.raises(DataError, match=r"fold 3 does not exist: the published folds are \[0, 1, 2\]"):
        make_split(manifest, SplitConfig(published=True, fold=3))
    with pytest.raises(DataError, match="needs the column published_fold"):
        make_split(STUDY, SplitConfig(published=True))
    with pytest.raises(ValueError, match="give one of them"):
        SplitConfig(published=True, folds=5)


def test_copies_of_a_published_fold_are_neither_trained_on_nor_reported() -> None:
    # The picture of the third case, in fold 1, is also the fifth case, in fold 2.
    manifest = published([0, 0, 1, 1, 2, 2], ["p0", "p1", "p2", "p3", "p2", "p5"])
    split = make_split(manifest, SplitConfig(published=True, fold=1))
    assert split.table["partition"].tolist() == ["train", "train", "test", "test", "left out", "train"]
    assert split.indices("train").tolist() == [0, 1, 5]
    assert split.indices("test").tolist() == [2, 3]
    check_split(split, manifest)
    with pytest.raises(LeakageError, match="nearly the same image"):
        check_split(Split(split.table.replace("left out", "train")), manifest)


@settings(max_examples=30)
@given(patients=PATIENTS, seed=st.integers(0, 99), repeats=st.integers(1, 3), folds=st.sampled_from([2, 3]))
def test_outer_folds_hold_every_case_out_once_a_repeat_and_inner_ones_never_hold_an_outer_case(
    patients: list[tuple[int, str]], seed: int, repeats: int, folds: int
) -> None:
    rows = [(f"p{i}", label) for i, (count, label) in enumerate(patients) for _ in range(count)]
    rows += [(f"extra-{side}{i}", side) for side in "ab" for i in range(12)]
    manifest = manifest_of(rows)
    outer = outer_folds(manifest, ProtocolConfig(folds=folds, repeats=repeats, seed=seed), published=False)
    assert [(one.repeat, one.fold) for one in outer] == [(r, f) for r in range(repeats) for f in range(folds)]
    held_out = np.zeros((repeats, len(rows)), int)
    for one in outer:
        train, test = one.split.indices("train"), one.split.indices("test")
        held_out[one.repeat, test] += 1
        names = manifest.table["patient_id"].to_numpy()
        assert not set(names[train]) & set(names[test])
        for inner_train, inner_val in inner_folds(manifest, one.split, folds=2, repeats=2, seed=seed):
            assert sorted([*inner_train, *inner_val]) == list(range(len(train)))
            assert not set(names[train[inner_train]]) & set(names[train[inner_val]])
            assert not set(names[train[inner_val]]) & set(names[test])
            assert set(manifest.table["label"].iloc[train[inner_val]]) == {"a", "b"}
    assert (held_out == 1).all()


def test_inner_folds_know_nothing_of_the_held_out_part() -> None:
    split = make_split(STUDY, SplitConfig())
    test = split.indices("test")
    other = STUDY.table.copy()
    other.loc[test, "label"] = other.loc[test, "label"].map({"a": "b", "b": "a"})
    other.loc[test, "patient_id"] = "someone else"
    found = [inner_folds(replace(STUDY, table=table), split, 3, 2, 5) for table in (STUDY.table, other)]
    assert len(found[0]) == 6
    for (train, val), (train_too, val_too) in zip(*found, strict=True):
        np.testing.assert_array_equal(train, train_too)
        np.testing.assert_array_equal(val, val_too)
    assert not np.array_equal(found[0][0][1], found[0][3][1])  # another repeat is another draw


def test_more_inner_folds_than_patients_of_a_class_are_refused() -> None:
    manifest = manifest_of([(f"p{i}", "a" if i < 8 else "b") for i in range(40)])
    split = make_split(manifest, SplitConfig())
    with pytest.raises(DataError, match=r"class 'a' has 6 patients, but tune\.folds is 7"):
        inner_folds(manifest, split, 7, 1, 0)


def test_a_last_network_is_trained_on_everyone() -> None:
    split = everyone(STUDY)
    assert len(split.indices("train")) == 142
    assert len(split.indices("test")) == 0


def test_published_folds_are_the_outer_ones_where_asked_for() -> None:
    table = STUDY.table.assign(published_fold=np.arange(142) % 5)
    outer = outer_folds(replace(STUDY, table=table), ProtocolConfig(), published=True)
    assert [len(one.split.indices("test")) for one in outer] == [29, 29, 28, 28, 28]
    assert (table["published_fold"].iloc[outer[2].split.indices("test")] == 2).all()
    with pytest.raises(DataError, match="needs the column published_fold"):
        outer_folds(STUDY, ProtocolConfig(), published=True)
