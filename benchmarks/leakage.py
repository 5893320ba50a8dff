"""What leakage is worth: AUROC of splits that part copies of a picture, against splits that keep them together.

    uv run python -m benchmarks.leakage IGNORING RESPECTING

Each argument is a folder with the `predictions_test.csv` of every fold, at any depth, from
`python -m eusml evaluate --split.folds 5 --split.fold K`, with `--data.audit.near_duplicates false` for the first and
`true` for the second. Every image is held out once in each; patients, copies counting as one, are resampled in pairs.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from eusml.commands.reported import read_predictions

SAMPLES = 2000


def answers(folder: Path) -> pd.DataFrame:
    """The held-out answers of all folds, one row per case."""
    tables = [read_predictions(file).assign(fold=number) for number, file in enumerate(sorted(folder.rglob("*.csv")))]
    return pd.concat(tables).set_index("case_id").sort_index()


def by_fold(table: pd.DataFrame) -> float:
    """Mean AUROC of the folds."""
    return float(np.mean([roc_auc_score(rows["y_true"], rows["y_score"]) for _, rows in table.groupby("fold")]))


def main(ignoring: Path, respecting: Path) -> None:
    """Print both AUROCs and their difference with its interval."""
    first, second = answers(ignoring), answers(respecting)
    assert first.index.equals(second.index), "the two sets of folds are not of the same cases"
    assert (first["y_true"] == second["y_true"]).all()
    groups, group = np.unique(second["patient_id"].astype(str), return_inverse=True)
    members = [np.flatnonzero(group == number) for number in range(len(groups))]
    copies = np.isin(group, np.flatnonzero(np.bincount(group) > 1))
    y_true = first["y_true"].to_numpy()
    scores = [table["y_score"].to_numpy() for table in (first, second)]
    print(f"{len(first)} cases in {len(groups)} groups, {int(copies.sum())} of them with a copy")
    for name, table in (("ignoring", first), ("respecting", second)):
        right = int((table["y_pred"] == table["y_true"]).sum())
        print(f"{name}: accuracy {right}/{len(table)}, mean AUROC of folds {by_fold(table):.4f}")
    rng = np.random.default_rng(0)
    for what, chosen in (("all", np.ones(len(first), bool)), ("with a copy", copies), ("without", ~copies)):
        pools = [rows[chosen[rows]] for rows in members if chosen[rows].any()]
        values = [roc_auc_score(y_true[chosen], score[chosen]) for score in scores]
        drawn = []
        for _ in range(SAMPLES):
            rows = np.concatenate([pools[number] for number in rng.integers(0, len(pools), len(pools))])
            if 0 < y_true[rows].sum() < len(rows):
                drawn.append(np.subtract(*(roc_auc_score(y_true[rows], score[rows]) for score in scores)))
        low, high = np.percentile(drawn, [2.5, 97.5])
        print(
            f"{what} ({int(chosen.sum())}): pooled AUROC {values[0]:.4f} ignoring, {values[1]:.4f} respecting, "
            f"difference {values[0] - values[1]:+.4f} ({low:+.4f} to {high:+.4f})"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
