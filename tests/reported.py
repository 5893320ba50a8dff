"""A finished study in a store, as `main` leaves one, without training: small tables of made-up answers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from eusml.config import EvaluateConfig, flatten, load_config
from eusml.data.images import encode_png
from eusml.evaluation.comparison import compare_all, side_by_side
from eusml.evaluation.metrics import evaluate_answers
from eusml.tracking import runs
from tests.conftest import answers

HERE = "0123456789abcdef"
SETTINGS = EvaluateConfig(bootstrap_samples=100)
ARMS = ("resnet34", "resnet50")
PIXELS = encode_png(np.full((40, 40), 90, dtype=np.uint8))


@dataclass(frozen=True)
class Written:
    """Runs of a study in the store."""

    main: str
    evaluations: dict[str, str]
    compare: str
    data: str


def manifest(table: pd.DataFrame, positive: str, negative: str, *, covariates: bool) -> pd.DataFrame:
    """Twice the reported cases, of which the second half was trained on."""
    both = pd.concat([table, table.assign(case_id="t" + table["case_id"], patient_id="t" + table["patient_id"])])
    both = both[["case_id", "patient_id", "y_true"]].reset_index(drop=True)
    found = both.assign(
        image=both["case_id"] + ".png", label=np.where(both["y_true"] == 1, positive, negative), pixels_sha256="0"
    )
    if covariates:
        rng = np.random.default_rng(1)
        found["age_years"] = rng.normal(55, 9, len(found)).round(1)
        found["size_mm"] = rng.uniform(4, 40, len(found)).round(1)
        found["sex"] = rng.choice(["male", "female"], len(found))
    return found


def write_study(
    *,
    synthetic: bool = True,
    positive: str = "GIST",
    negative: str = "leiomyoma",
    covariates: bool = True,
    perfect: str | None = None,
    fresh: bool = True,
    arms: tuple[str, ...] = ARMS,
    digest: str = "cases",
) -> Written:
    """Write it.

    Args:
        synthetic: whether the images are made up.
        positive: name of the positive class.
        negative: name of the other.
        covariates: whether anything is known of the cases.
        perfect: an arm that makes no error on `test`.
        fresh: whether there are further cases.
        arms: names of the networks.
        digest: of the test cases.
    """
    marks = {runs.SOURCE: "folder x", runs.SYNTHETIC: str(synthetic).lower(), "eusml.data_digest": digest}
    config = load_config(None, {"name": "study", "data.positive_class": positive, "evaluate.bootstrap_samples": "100"})
    tables = {arm: {"test": answers(seed, 40)} for seed, arm in enumerate(arms)}
    if fresh:
        for seed, arm in enumerate(arms):
            tables[arm]["fresh"] = answers(seed + 7, 60)
    if perfect is not None:
        right = tables[perfect]["test"]
        tables[perfect]["test"] = right.assign(y_score=0.2 + 0.6 * right["y_true"], y_pred=right["y_true"])
    with runs.entry_run("study: main", {**marks, runs.STAGE: "main"}, HERE) as main:
        main.params({f"cfg.{name}": value for name, value in flatten(config).items()})
        main.json({"Python": "3.11", "torch": "2.15.0"}, "environment.json")
        data = _data(main, marks, manifest(tables[arms[0]]["test"], positive, negative, covariates=covariates))
        trained = {arm: _trained(main, marks, arm) for arm in arms}
        evaluations = {
            arm: _evaluated(main, {**marks, "eusml.test_cases_digest": digest}, arm, trained[arm], tables[arm],
                            covariates=covariates, pictures=synthetic)
            for arm in arms
        }  # fmt: skip
        compare = _compared(main, marks, tables, evaluations)
        stages = [("data", data), *((f"train {a}", r) for a, r in trained.items()),
                  *((f"evaluate {a}", r) for a, r in evaluations.items()), ("compare", compare)]  # fmt: skip
        rows = [{"label": label, "run_id": run, "reused": False, "seconds": 1.5} for label, run in stages]
        main.json({"stages": rows}, "stages.json")
    return Written(main.run_id, evaluations, compare, data)


def _data(main: runs.Run, marks: dict[str, str], table: pd.DataFrame) -> str:
    with runs.child_run(main, "data", {**marks, runs.STAGE: "data", "eusml.split_digest": "split"}) as run:
        run.table(table, "manifest.csv")
        part = np.where(table["case_id"].str.startswith("t"), "train", "test")
        run.table(table[["case_id", "patient_id", "label"]].assign(partition=part), "split.csv")
        flow = [("found", len(table) + 3), ("unreadable file", 3), ("kept", len(table))]
        run.table(pd.DataFrame(flow, columns=["step", "cases"]), "audit/flow.csv")
        findings = [("unreadable", "dropped", "three files <b>cannot</b> be read | at all", "a; b; c")]
        run.table(pd.DataFrame(findings, columns=["kind", "decision", "detail", "cases"]), "audit/findings.csv")
    return run.run_id


def _trained(main: runs.Run, marks: dict[str, str], arm: str) -> str:
    epoch = np.arange(1, 4)
    history = pd.DataFrame({"epoch": epoch, "train_loss": 1 / epoch, "train_accuracy": 1 - 1 / (epoch + 1),
                            "test_loss": 2 / epoch, "test_accuracy": 1 - 1 / (epoch + 2), "seconds": 0.1})  # fmt: skip
    tags = {**marks, runs.STAGE: "train", "eusml.weights_sha256": "ab" * 32, "eusml.compute": "cpu (2 threads), fp32"}
    with runs.child_run(main, f"train {arm}", tags) as run:
        run.params(
            {"cfg.train.arch": arm[:8], "cfg.train.epochs": 3, "cfg.train.lr": 0.00123, "cfg.train.offline": False}
        )
        run.metrics({"calibration/temperature": 1.25})
        run.table(history, "curves.csv")
    return run.run_id


def _evaluated(
    main: runs.Run, marks: dict[str, str], arm: str, trained: str, tables: dict[str, pd.DataFrame], *,
    covariates: bool, pictures: bool,
) -> str:  # fmt: skip
    tags = {**marks, runs.STAGE: "evaluate", "eusml.arm": arm, "eusml.arch": arm[:8], "eusml.train_run": trained,
            **{f"eusml.{part}_digest": "pixels" for part in tables}}  # fmt: skip
    with runs.child_run(main, f"evaluate {arm}", tags) as run:
        for part, table in tables.items():
            metrics = evaluate_answers(table, SETTINGS)
            run.metrics(metrics.flat(part))
            run.table(metrics.table(), f"metrics_{part}.csv")
            run.table(table, f"predictions_{part}.csv")
            if part != "test" and covariates:
                run.table(table[["case_id"]].assign(size_mm=np.linspace(2, 40, len(table))), f"cases_{part}.csv")
        wrong = tables["test"][tables["test"]["y_true"] != tables["test"]["y_pred"]].head(2)
        if pictures:
            files = [f"test_{number:02}.png" for number in range(1, len(wrong) + 1)]
            run.artifacts({f"misclassified/{file}": PIXELS for file in files})
            run.table(wrong[["case_id", "y_true", "y_score"]].assign(file=files), "misclassified/test.csv")
    return run.run_id


def _compared(
    main: runs.Run, marks: dict[str, str], tables: dict[str, dict[str, pd.DataFrame]], evaluations: dict[str, str]
) -> str:
    with runs.child_run(main, "compare", {**marks, runs.STAGE: "compare"}) as run:
        rows, pairs = [], {}
        for part in tables[next(iter(tables))]:
            networks = {arm: parts[part] for arm, parts in tables.items()}
            baseline = {"size alone, no image": answers(90, len(tables[next(iter(tables))][part]))}
            rows.append(side_by_side(networks | baseline, SETTINGS).assign(part=part))
            found: list[Any] = compare_all(networks, confidence=0.95, samples=100)
            pairs[part] = [vars(pair) for pair in found]
        run.table(pd.concat(rows), "comparison.csv")
        run.json(pairs, "pairs.json")
        run.json(evaluations, "runs.json")
    return run.run_id
