"""Whether probabilities and prediction sets hold: ResNet-34 of `quick.yaml`, calibrated in two ways, 400 fresh cases.

    uv run python -m benchmarks.calibrated [WORK_DIR]

Once calibrated on 113 training cases by three inner folds, and once on 200 further cases (`val`).
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.in_folder import measure_in_folder
from eusml.commands.data import study_data
from eusml.commands.job import open_job
from eusml.commands.reported import further_cases
from eusml.commands.train import trained_model
from eusml.config import load_config
from eusml.evaluation.calibration import calibration_error
from eusml.evaluation.conformal import prediction_sets
from eusml.evaluation.intervals import proportion_interval
from eusml.learning.temperature import Calibration, tempered

SETTINGS = {"name": "calibrated", "data.phantom.selection_cases": "200", "tune.enabled": "false"}
ERROR_RATES = (0.05, 0.1, 0.2)


def shown(count: int, total: int) -> str:
    """Proportion with its adjusted-Wald interval."""
    low, high = proportion_interval(count, total, "adjusted_wald", 0.95)
    return f"{count}/{total} = {count / total:.3f} ({low:.3f}-{high:.3f})"


def sets_table(y_true: npt.NDArray[np.int64], y_score: npt.NDArray[np.float64], found: Calibration) -> None:
    """A row per error rate: how many cases keep their label, in total and by class, and how many sets are one label."""
    print("| error rate | label in the set, all | GIST | leiomyoma | sets of one label | of these right |")
    print("|---|---|---|---|---|---|")
    for error_rate in ERROR_RATES:
        sets = prediction_sets(np.array(found.y_true), np.array(found.y_score), y_score, error_rate)
        held = sets[np.arange(len(sets)), y_true]
        single = sets.sum(axis=1) == 1
        cells = [
            shown(int(held[chosen].sum()), int(chosen.sum()))
            for chosen in (np.ones_like(held), y_true == 1, y_true == 0)
        ]
        told = f"{int(single.sum())}/{len(single)}"
        print(f"| {error_rate} | {' | '.join(cells)} | {told} | {shown(int(held[single].sum()), int(single.sum()))} |")


def main(work: Path) -> None:
    """Print both tables, and the calibration errors before and after."""
    for cases in ("inner_folds", "val"):
        given = {**SETTINGS, "calibrate.cases": cases, "work_dir": str(work / "work")}
        config = load_config(Path("experiments/quick.yaml"), given)
        with open_job("calibrated", config) as job:
            arm = config.arm_configs()["resnet34"]
            model = trained_model(job, study_data(job), "resnet34", arm)
            fresh = further_cases(job, config.data)["fresh"]
            y_true, y_score = fresh.table["y_true"].to_numpy(), model.bundle.scores(fresh.images)
        found = model.spec.calibration
        assert found is not None
        before = tempered(y_score, 1 / found.temperature)
        print(
            f"\nCalibrated on {found.cases}: temperature {found.temperature:.2f}; on the fresh cases calibration error "
        )
        print(
            f"{calibration_error(y_true, before):.3f} before and {calibration_error(y_true, y_score):.3f} after, Brier "
        )
        print(f"{np.mean((before - y_true) ** 2):.4f} before and {np.mean((y_score - y_true) ** 2):.4f} after.\n")
        sets_table(y_true, y_score, found)


if __name__ == "__main__":
    measure_in_folder(main)
