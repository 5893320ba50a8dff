"""Whether tuning helps: ResNet-34 of `quick.yaml` as it stands and with the best of a study, on 400 fresh cases.

    uv run python -m benchmarks.tuned_against_default [WORK_DIR]

Three times, with patients, split, initial weights and study drawn anew. Intervals resample the fresh cases of every
draw and not the trainings: what another seed of the same training would have given is in the spread of the three.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.in_folder import measure_in_folder
from eusml.commands.data import study_data
from eusml.commands.evaluate import measured
from eusml.commands.fitted import fitted_model
from eusml.commands.job import open_job
from eusml.commands.reported import further_cases
from eusml.commands.tune import tuned
from eusml.config import Config, load_config
from eusml.evaluation import bootstrap

SEEDS = (0, 1, 2)
ARM = "resnet34"
SHOWN = ("accuracy", "auroc", "brier")
RESAMPLES = 10_000
SETTINGS = {
    "name": "tuned_against_default", "train.threads": "1", "data.phantom.selection_cases": "0",
    # quick.yaml as it stood when this was measured.
    "data.image_size_px": "48", "train.batch_size": "32", "train.lr": "2e-3", "train.online.contrast_frac": "0",
    "train.online.brightness": "0", "train.online.tilt": "0", "train.shallow_frac": "0",
    "arms": '[{"name": "resnet34", "arch": "resnet34", "epochs": 72}]',
    "tune.trials": "12", "tune.startup_trials": "5", "tune.folds": "3", "tune.epochs_frac": "0.33",
    "tune.space": '{"train.lr": {"low": 5e-4, "high": 8e-3, "log": true}, '
                  '"train.weight_decay": {"low": 0.005, "high": 0.2, "log": true}, '
                  '"train.label_smoothing": {"choices": [0.0, 0.1]}, "train.dropout": {"choices": [0.0, 0.3]}, '
                  '"train.online.gamma_frac": {"low": 0.0, "high": 0.5}, '
                  '"train.online.scale_frac": {"low": 0.0, "high": 0.3}}',
}  # fmt: skip

Floats = npt.NDArray[np.float64]


def answers(work: Path, seed: int) -> dict[str, pd.DataFrame]:
    """What the two networks of one draw say of the fresh cases."""
    drawn = {"data.phantom.seed": seed, "train.seed": seed, "tune.seed": seed, "work_dir": work / "work"}
    given = {**SETTINGS, **{name: str(value) for name, value in drawn.items()}}
    config = load_config(Path("experiments/quick.yaml"), given)
    with open_job("tuned_against_default", config) as job:
        study, as_it_stands = study_data(job), config.arm_configs()[ARM]
        found: dict[str, Config] = {"as it stands": as_it_stands, "tuned": tuned(job, study, ARM, as_it_stands)}
        fresh = further_cases(job, config.data)
        networks = {name: fitted_model(job, study, name, one, keep=False) for name, one in found.items()}
        return {
            name: measured(job, study, network, found[name], fresh).predictions["fresh"]
            for name, network in networks.items()
        }


def drawn_measures(by_name: dict[str, pd.DataFrame], rng: np.random.Generator) -> dict[str, dict[str, Floats]]:
    """Every measure of both networks, of the cases as they are (first) and of resamples, the same ones for both."""
    cases = len(next(iter(by_name.values())))
    resampled = rng.multinomial(cases, np.full(cases, 1 / cases), size=RESAMPLES)
    weights = np.concatenate([np.ones((1, cases)), resampled])
    return {
        name: bootstrap.measures(weights, table["y_true"].to_numpy(), table["y_score"].to_numpy(), 0.5)
        for name, table in by_name.items()
    }


def main(work: Path) -> None:
    """Print a table: a row per draw and measure, and the mean of the draws."""
    rng = np.random.default_rng(0)
    draws = {str(seed): drawn_measures(answers(work, seed), rng) for seed in SEEDS}
    mean: dict[str, dict[str, Floats]] = {
        name: {measure: np.mean([draw[name][measure] for draw in draws.values()], axis=0) for measure in SHOWN}
        for name in ("as it stands", "tuned")
    }
    print("| seed | measure | as it stands | tuned | tuned minus as it stands |\n|---|---|---|---|---|")
    for seed, draw in {**draws, "mean": mean}.items():
        for measure in SHOWN:
            before, after = draw["as it stands"][measure], draw["tuned"][measure]
            gain = after - before
            low, high = np.quantile(gain[1:], [0.025, 0.975])
            difference = f"{gain[0]:+.3f} ({low:+.3f} to {high:+.3f})"
            print(f"| {seed} | {measure} | {before[0]:.3f} | {after[0]:.3f} | {difference} |")


if __name__ == "__main__":
    measure_in_folder(main)
