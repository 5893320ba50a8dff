"""Who is trained on and who is reported: stratified per class, grouped by patient, made before any augmentation."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from eusml.config import ProtocolConfig, SplitConfig
from eusml.data.groups import first_names, joined
from eusml.data.manifest import Manifest, table_digest
from eusml.errors import DataError, LeakageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Partition = Literal["train", "test"]
LEFT_OUT = "left out"
"""Neither trained on nor reported: it would be the same picture as a reported one."""
FOLD_COLUMN = "published_fold"
"""Column of the manifest with the fold that a case was published in, from 0."""
_COLUMNS = ["case_id", "patient_id", "label"]


@dataclass(frozen=True)
class Split:
    """One row per case: `case_id`, `patient_id`, `label`, `partition` (train, test, or left out of published folds)."""

    table: pd.DataFrame

    @property
    def digest(self) -> str:
        """SHA-256 of the table."""
        return table_digest(self.table)

    def indices(self, partition: Partition) -> "NDArray[np.int64]":
        """Rows of the manifest that belong to the partition, int64, ascending."""
        return np.flatnonzero(self.table["partition"].to_numpy() == partition).astype(np.int64)


def make_split(manifest: Manifest, settings: SplitConfig) -> Split:
    """Hold out a share of each class, or one of `folds` folds; patients stay whole.

    Patients with an image in common, pixel for pixel or by what the audit found, are kept together like one patient.

    Raises:
        DataError: a class has too few patients for it.
    """
    table = manifest.table[_COLUMNS].reset_index(drop=True)
    grouped = table.assign(patient_id=_groups(manifest))
    if settings.published:
        return _published(manifest, grouped, settings.fold)
    _check_folds(grouped, settings.folds or 2, "split.folds" if settings.folds else "")
    held_out = _fold(grouped, settings) if settings.folds else _share(grouped, settings)
    if not held_out.any():
        raise DataError("nobody can be held out: each class has one patient alone, or all have images of both classes")
    split = Split(table.assign(partition=np.where(held_out, "test", "train")))
    check_split(split, manifest)
    return split


@dataclass(frozen=True)
class OuterFold:
    """One fold of a (repeated) cross-validation."""

    repeat: int
    """From 0."""
    fold: int
    """From 0, within the repeat."""
    split: Split
    """`test` is the fold, `train` the rest."""

    def name(self, arm: str) -> str:
        """What an arm is called in it: `resnet34-2_5` in the fifth fold of the second repeat."""
        return f"{arm}-{self.repeat + 1}_{self.fold + 1}"


def outer_folds(manifest: Manifest, protocol: ProtocolConfig, *, published: bool) -> list[OuterFold]:
    """The folds of a cross-validation: in every repeat each case is in the test partition of one of them.

    Args:
        manifest: all cases.
        protocol: how many folds and repeats.
        published: take the folds that came with the data instead, once.

    Raises:
        DataError: a class has fewer patients than there are folds, or the data bring no folds.
    """
    if published:
        count = len(set(_published_folds(manifest).dropna()))
        return [
            OuterFold(0, fold, make_split(manifest, SplitConfig(published=True, fold=fold))) for fold in range(count)
        ]
    return [
        OuterFold(
            repeat,
            fold,
            make_split(manifest, SplitConfig(folds=protocol.folds, fold=fold, seed=protocol.seed + repeat)),
        )
        for repeat in range(protocol.repeats)
        for fold in range(protocol.folds)
    ]


def everyone(manifest: Manifest) -> Split:
    """A split that holds nobody out: that of a last network made of all cases, which is reported on none of them."""
    split = Split(manifest.table[_COLUMNS].reset_index(drop=True).assign(partition="train"))
    check_split(split, manifest)
    return split


def inner_folds(
    manifest: Manifest, split: Split, folds: int, repeats: int, seed: int, setting: str = "tune.folds"
) -> "list[tuple[NDArray[np.int64], NDArray[np.int64]]]":
    """Folds of the training partition alone: stratified per class, patients and pictures whole.

    Returns:
        `folds` times `repeats` pairs of row numbers, int64: what to train on and what to measure on. They count within
        the training partition, in the order of `split.indices("train")`; nothing of the other rows decides them.

    Raises:
        DataError: a class has fewer patients in the training partition than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    rows = split.indices("train")
    part = replace(manifest, table=manifest.table.iloc[rows].reset_index(drop=True))
    table = part.table[_COLUMNS].assign(patient_id=_groups(part))
    _check_folds(table, folds, setting)
    pairs: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for repeat in range(repeats):
        drawn = StratifiedGroupKFold(folds, shuffle=True, random_state=seed + repeat)
        for train, val in drawn.split(np.zeros(len(table)), table["label"], groups=table["patient_id"]):
            if len(set(table["label"].iloc[val])) < 2 or len(set(table["label"].iloc[train])) < 2:
                raise DataError(f"an inner fold of {folds} would hold one class only; fewer {setting} are needed")
            pairs.append((train.astype(np.int64), val.astype(np.int64)))
    return pairs


def check_split(split: Split, manifest: Manifest) -> None:
    """Refuse a split that is not of this manifest or that leaks.

    Raises:
        DataError: cases, patients or labels differ, or a partition lacks a class.
        LeakageError: a patient or an image stands on both sides.
    """
    table = split.table
    expected = manifest.table[_COLUMNS].reset_index(drop=True)
    if not table[_COLUMNS].reset_index(drop=True).equals(expected):
        differing = sorted(set(table["case_id"]) ^ set(expected["case_id"]))[:5]
        what = f"only one of them has case {', '.join(differing)}" if differing else "order, patients or labels differ"
        raise DataError(f"the split does not fit the manifest: {what}; make the split anew")
    unknown = sorted(set(table["partition"]) - {"train", "test", LEFT_OUT})
    if unknown:
        raise DataError(f"the split knows train, test and {LEFT_OUT}, found {', '.join(map(repr, unknown))}")
    both = _on_both_sides(table["patient_id"], table["partition"])
    if both:
        raise LeakageError(f"patient {', '.join(both[:5])} stands in both train and test")
    pixels = manifest.table["pixels_sha256"].reset_index(drop=True)
    shared = table.loc[pixels.isin(_on_both_sides(pixels, table["partition"])), "case_id"].tolist()
    if shared:
        raise LeakageError(f"the same image stands in both train and test, as case {', '.join(shared[:5])}")
    if "group_id" in manifest.table.columns:
        groups = manifest.table["group_id"].reset_index(drop=True)
        near = table.loc[groups.isin(_on_both_sides(groups, table["partition"])), "case_id"].tolist()
        if near:
            raise LeakageError(f"nearly the same image stands in both train and test, as case {', '.join(near[:5])}")
    for partition in ("train", "test") if (table["partition"] == "test").any() else ("train",):
        lacking = set(table["label"]) - set(table.loc[table["partition"] == partition, "label"])
        if lacking:
            raise DataError(f"the {partition} partition would hold no case of {', '.join(sorted(lacking))}")


def _on_both_sides(names: "pd.Series[str]", partition: "pd.Series[str]") -> list[str]:
    used = partition != LEFT_OUT
    sides = partition[used].groupby(names[used]).nunique()
    return [str(name) for name in sides[sides > 1].index]


def _groups(manifest: Manifest) -> "NDArray[np.object_]":
    """A name per row: that of the first of all patients who must stay together with this one.

    They share a picture, pixel for pixel after preparation, or the audit found that their pictures are the same.
    """
    table = manifest.table
    reasons = [table[name].tolist() for name in ("patient_id", "pixels_sha256", "group_id") if name in table.columns]
    group = joined(len(table), reasons)
    return np.array(first_names(group, table["patient_id"].astype(str).tolist()), dtype=np.object_)


def _published(manifest: Manifest, grouped: pd.DataFrame, fold: int) -> Split:
    """A fold as it was published, and of the rest whatever shares no group with it."""
    folds = _published_folds(manifest)
    if fold not in set(folds):
        raise DataError(
            f"fold {fold} does not exist: the published folds are {sorted(set(folds.dropna().astype(int)))}"
        )
    held_out = (folds == fold).to_numpy()
    shared = ~held_out & grouped["patient_id"].isin(set(grouped.loc[held_out, "patient_id"])).to_numpy()
    partition = np.where(held_out, "test", np.where(shared, LEFT_OUT, "train"))
    split = Split(manifest.table[_COLUMNS].reset_index(drop=True).assign(partition=partition))
    check_split(split, manifest)
    return split


def _published_folds(manifest: Manifest) -> "pd.Series[float]":
    if FOLD_COLUMN not in manifest.table.columns:
        raise DataError(f"split.published needs the column {FOLD_COLUMN}, which {manifest.source} does not bring")
    return pd.to_numeric(manifest.table[FOLD_COLUMN].reset_index(drop=True))


def _check_folds(table: pd.DataFrame, least: int, setting: str) -> None:
    for label, patients in table.groupby("label")["patient_id"].nunique().items():
        if patients < least:
            what = f"{setting} is {least}" if setting else f"a hold-out needs {least}"
            raise DataError(
                f"class {label!r} has {patients} patients, but {what}; fewer folds or more cases are needed"
            )


def _fold(table: pd.DataFrame, settings: SplitConfig) -> "NDArray[np.bool_]":
    from sklearn.model_selection import StratifiedGroupKFold

    assert settings.folds is not None
    folds = StratifiedGroupKFold(settings.folds, shuffle=True, random_state=settings.seed)
    parts = list(folds.split(np.zeros(len(table)), table["label"], groups=table["patient_id"]))
    held_out = np.zeros(len(table), dtype=np.bool_)
    held_out[parts[settings.fold][1]] = True
    return held_out


def _share(table: pd.DataFrame, settings: SplitConfig) -> "NDArray[np.bool_]":
    """Per class, patients in random order are taken as long as each brings the count nearer to the asked share.

    Where each of them alone is too much, the one with the fewest images is taken, for a hold-out holds somebody out.

    A patient with images of both classes is drawn with the class of the first.
    """
    rng = np.random.default_rng(settings.seed)
    first = table.drop_duplicates("patient_id").set_index("patient_id")["label"]
    sizes = table["patient_id"].value_counts()
    chosen: set[str] = set()
    for label in sorted(table["label"].unique()):
        target = max(round(settings.test_frac * int((table["label"] == label).sum())), 1)
        # Sorted first, so that the draw depends on who the patients are and not on the order of the rows.
        patients = rng.permutation(sorted(first.index[first == label]))
        may_go = patients[:-1]  # one patient at least stays to be trained on
        taken = 0
        for patient in may_go:
            size = int(sizes[patient])
            if abs(taken + size - target) < abs(taken - target):
                chosen.add(str(patient))
                taken += size
        if len(may_go) and not taken:
            chosen.add(str(min(may_go, key=lambda patient: int(sizes[patient]))))
    return np.asarray(table["patient_id"].isin(chosen).to_numpy(), dtype=np.bool_)
