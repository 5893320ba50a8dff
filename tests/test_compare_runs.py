"""`compare` of evaluation runs by their ids, against a real sqlite store; no image is read and nothing is trained."""

import json
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from eusml.commands import compare
from eusml.commands.compared import Compared
from eusml.config import Config, load_config
from eusml.errors import EusmlError, TrackingError
from eusml.evaluation.metrics import MEASURES
from eusml.tables import read_csv
from eusml.tracking import runs
from tests.conftest import answers

HERE = "0123456789abcdef"
TAGS = {
    "eusml.stage": "evaluate",
    "eusml.data_source": "folder x",
    "eusml.synthetic": "true",
    "eusml.test_digest": "pixels",
    "eusml.test_cases_digest": "cases",
    "eusml.preparation": '{"size_px": 48, "frame": "middle"}',
}


def trained(*, offline: bool, epochs: int = 3) -> str:
    """A finished training run with curves."""
    epoch = np.arange(1, epochs + 1)
    history = pd.DataFrame({"epoch": epoch, "train_loss": 1 / epoch, "train_accuracy": 1 - 1 / (epoch + 1),
                            "test_loss": 2 / epoch, "test_accuracy": 1 - 1 / (epoch + 2)})  # fmt: skip
    with runs.entry_run("train", {"eusml.stage": "train"}, HERE) as run:
        run.params({"cfg.train.offline": offline})
        run.table(history, "curves.csv")
    return run.run_id


def evaluated(arm: str, tables: dict[str, pd.DataFrame], **tags: str) -> str:
    """A finished evaluation run; `tags` without their prefix."""
    marks = {**TAGS, "eusml.arm": arm, "eusml.arch": arm[:8]} | {f"eusml.{name}": tag for name, tag in tags.items()}
    with runs.entry_run("evaluate", {name: tag for name, tag in marks.items() if tag != "none"}, HERE) as run:
        for part, table in tables.items():
            run.table(table, f"predictions_{part}.csv")
    return run.run_id


def config(folder: Path, *run_ids: str, **settings: str) -> Config:
    given = {"compare.runs": json.dumps(run_ids), "work_dir": str(folder / "work"), "evaluate.bootstrap_samples": "100"}
    return load_config(None, given | settings)


def compared(folder: Path, *run_ids: str, **settings: str) -> tuple[mlflow.entities.Run, Callable[[str], Path]]:
    """The newest run after comparing, and how to fetch an artifact of it."""
    compare.run(config(folder, *run_ids, **settings))
    client = MlflowClient()
    experiment = client.get_experiment_by_name("test")
    newest = client.search_runs([experiment.experiment_id], "tags.`eusml.entry_point` = 'compare'",
                                order_by=["attributes.start_time DESC"], max_results=1)[0]  # fmt: skip
    return newest, lambda name: runs.fetch(newest.info.run_id, name, folder / "fetched" / newest.info.run_id)


def test_two_runs_are_compared_as_arms_are(store_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = {name: {"test": answers(seed), "fresh": answers(seed + 5, 60)} for seed, name in enumerate("ab")}
    digests = {"fresh_digest": "f", "fresh_cases_digest": "f"}
    first = evaluated("resnet34", tables["a"], train_run=trained(offline=True), **digests)
    second = evaluated("resnet50", tables["b"], train_run=trained(offline=True), **digests)
    run, artifact = compared(store_folder, first, second)
    assert json.loads(artifact("runs.json").read_text()) == {"resnet34": first, "resnet50": second}
    table = read_csv(artifact("comparison.csv"))
    assert set(zip(table["part"], table["arm"], strict=True)) == {
        (part, arm) for part in ("test", "fresh") for arm in ("resnet34", "resnet50")
    }
    page = artifact("roc_pr_calibration.html").read_text(encoding="utf-8")
    for part in ("test", "fresh"):
        auroc = table.query(f"part == '{part}' and arm == 'resnet50' and measure == 'auroc'")["value"].item()
        assert f"resnet50: AUROC {auroc:.3f}" in page
    value = table.query("part == 'test' and arm == 'resnet50' and measure == 'accuracy'")["value"].item()
    assert value == pytest.approx((tables["b"]["test"]["y_pred"] == tables["b"]["test"]["y_true"]).mean())
    differences = read_csv(artifact("differences.csv"))
    assert differences.groupby("part")["measure"].apply(list).to_dict() == {
        "test": list(MEASURES),
        "fresh": list(MEASURES),
    }
    (pair,) = json.loads(artifact("pairs.json").read_text())["test"]
    assert pair["smallest_accuracy_difference"] > 0
    for chart in ("accuracy", "auroc", "curves", "figure4_architecture"):
        assert artifact(f"{chart}.png").stat().st_size > 500
        assert artifact(f"{chart}.svg").read_text(encoding="utf-8").startswith("<?xml")
        assert set(read_csv(artifact(f"{chart}.csv"))["arm"]) == {"resnet34", "resnet50"}
    with pytest.raises(TrackingError):
        artifact("figure3_augmentation.png")
    with pytest.raises(TrackingError):
        artifact("resampled_t.csv")
    assert run.data.tags["eusml.synthetic"] == "true"
    assert run.data.tags["eusml.data_source"] == "folder x"
    note = run.data.tags["mlflow.note.content"]
    assert "SYNTHETIC" in note
    assert "These 30 cases could have shown" in note
    assert "resnet34 against resnet50, 30 cases" in capsys.readouterr().out
    # The same once more is not computed again, and another setting is.
    again, _ = compared(store_folder, first, second)
    assert again.data.tags["eusml.reused_run"] == run.info.run_id
    other, _ = compared(store_folder, first, second, **{"evaluate.confidence": "0.9"})
    assert "eusml.reused_run" not in other.data.tags


def refused(folder: Path, *run_ids: str) -> str:
    with pytest.raises(EusmlError) as caught:
        compare.run(config(folder, *run_ids))
    return str(caught.value)


def test_runs_on_other_cases_are_refused_and_the_cases_named(store_folder: Path) -> None:
    first = evaluated("a", {"test": answers(0)})
    others = answers(1).replace({"case_id": {"003": "new"}})
    digests = {"test_digest": "p2", "test_cases_digest": "c2"}
    text = refused(store_folder, first, evaluated("b", {"test": others}, **digests))
    assert text == "test: a and b cannot be compared: only one of them was measured on case 003, new"
    relabelled = answers(1).assign(y_true=lambda t: t["y_true"].where(t.index != 4, 1))
    text = refused(store_folder, first, evaluated("b", {"test": relabelled}, **digests))
    assert "y_true differs for case 004" in text


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"test_digest": "p2"}, "the pixels differ although both runs prepared their images alike"),
        ({"test_digest": "p2", "test_cases_digest": "c2"}, "not what else is known of the cases"),
        ({"test_digest": "p2", "test_cases_digest": "none"}, "an older run does not say"),
    ],
)
def test_other_images_under_the_same_names_are_refused(tags: dict[str, str], expected: str, store_folder: Path) -> None:
    text = refused(store_folder, evaluated("a", {"test": answers(0)}), evaluated("b", {"test": answers(1)}, **tags))
    assert "case ids, labels and patients are the same" in text
    assert expected in text


def test_the_same_cases_at_another_image_size_are_compared(
    store_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = evaluated("a", {"test": answers(0)})
    larger = evaluated("b", {"test": answers(1)}, test_digest="p2", preparation='{"size_px": 64, "frame": "middle"}')
    compared(store_folder, first, larger)
    assert "test: the same cases, prepared otherwise: size_px 48 against 64\n" in capsys.readouterr().out


def test_partitions_that_differ_are_left_out_and_test_stays(
    store_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (
        evaluated(name, {"test": answers(seed), "fresh": answers(seed, 20 + 2 * seed)}, fresh_digest=f"f{seed}")
        for seed, name in enumerate(["a", "b"])
    )
    _, artifact = compared(store_folder, first, second)
    assert set(read_csv(artifact("comparison.csv"))["part"]) == {"test"}
    assert "fresh is left out: fresh: a and b cannot be compared: only one" in capsys.readouterr().out


def test_what_is_no_finished_evaluation_is_refused(store_folder: Path) -> None:
    good = evaluated("a", {"test": answers(0)})
    assert "has no run 0123" in refused(store_folder, good, "0123")
    train = trained(offline=True)
    assert f"run {train} is no evaluation run, but one of stage 'train'" in refused(store_folder, good, train)
    with runs.entry_run("main", {"eusml.stage": "main"}, HERE) as parent:
        pass
    assert "its evaluation runs are its children" in refused(store_folder, good, parent.run_id)
    client = MlflowClient()
    experiment = client.get_run(good).info.experiment_id
    running = client.create_run(experiment, tags=TAGS).info.run_id
    assert f"run {running} did not finish; its status is RUNNING" in refused(store_folder, good, running)
    deleted = evaluated("b", {"test": answers(1)})
    client.delete_run(deleted)
    assert f"run {deleted} was deleted" in refused(store_folder, good, deleted)
    empty = evaluated("b", {})
    assert f"predictions_test.csv of run {empty} cannot be read" in refused(store_folder, good, empty)


def test_a_run_that_only_took_over_a_result_stands_for_it(store_folder: Path) -> None:
    first, second = evaluated("a", {"test": answers(0)}), evaluated("b", {"test": answers(1)})
    reusing = evaluated("b", {}, reused_run=second)
    _, artifact = compared(store_folder, first, reusing)
    assert json.loads(artifact("runs.json").read_text()) == {"a": first, "b": second}
    assert f"runs {second}, {reusing} are the same evaluation" in refused(store_folder, second, reusing)


def test_arms_of_one_name_are_told_apart_and_all_are_called_at_one_threshold(
    store_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = answers(1).assign(y_pred=lambda t: (t["y_score"] >= 0.8) * 1)
    first, second = evaluated("a", {"test": answers(0)}), evaluated("a", {"test": strict})
    _, artifact = compared(store_folder, first, second)
    assert f"run {second} called its test cases at another threshold" in capsys.readouterr().out
    table = read_csv(artifact("comparison.csv"))
    assert set(table["arm"]) == {f"a {first[:8]}", f"a {second[:8]}"}
    (pair,) = json.loads(artifact("pairs.json").read_text())["test"]
    right = [((arm["y_score"] >= 0.5) == arm["y_true"]).mean() for arm in (answers(0), strict)]
    assert pair["accuracy_difference"] == pytest.approx(right[0] - right[1])


def test_folds_of_a_cross_validation_get_the_corrected_t_test(store_folder: Path) -> None:
    def crossed(seed: int) -> pd.DataFrame:
        repeats = [answers(seed + 10 * repeat).assign(repeat=repeat) for repeat in range(2)]
        return pd.concat(repeats, ignore_index=True).assign(fold=lambda t: t["case_id"].astype(int) // 2 % 5)

    first, second = (evaluated(name, {"test": crossed(seed)}) for seed, name in enumerate("ab"))
    run, artifact = compared(store_folder, first, second)
    table = read_csv(artifact("resampled_t.csv"))
    assert table["measure"].tolist() == ["accuracy", "auroc", "log_loss"]
    assert (table["folds"] == 10).all()
    note = run.data.tags["mlflow.note.content"]
    assert "a against b, auroc averaged over folds" in note
    assert "30 cases in each of 2 repeats" in note


def network(name: str, arch: str, offline: bool | None, epochs: int) -> Compared:
    history = pd.DataFrame({"epoch": range(epochs)}) if epochs else None
    return Compared(name, "", {}, arch, offline, history)


def shown(*networks: Compared) -> dict[str, list[str]]:
    return {name: list(histories) for name, histories in compare.curves(networks).items()}


def test_the_studys_figures_show_the_arms_that_differ_in_one_thing() -> None:
    # The four arms of experiments/paper.yaml.
    arms = {
        name: network(name, arm.train.arch, arm.train.offline, arm.train.epochs)
        for name, arm in load_config(Path("experiments/paper.yaml")).arm_configs().items()
    }
    assert shown(*arms.values()) == {
        "curves": list(arms),
        "figure3_augmentation": ["resnet34-original-100", "resnet34-augmented-100"],
        "figure4_architecture": ["resnet34-augmented-200", "resnet50-augmented-200"],
    }


def test_a_figure_without_its_pair_is_not_drawn() -> None:
    assert shown(network("a", "resnet34", False, 9), network("b", "resnet50", True, 3)) == {"curves": ["a", "b"]}
    # Not known to differ or to agree.
    assert shown(network("a", "resnet34", True, 9), network("b", "resnet34", None, 9)) == {"curves": ["a", "b"]}
    assert shown(network("a", "resnet34", None, 9), network("b", "resnet50", None, 9)) == {"curves": ["a", "b"]}
    assert shown(network("a", "resnet34", True, 0), network("b", "resnet50", True, 0)) == {}
    # Better of unequal epochs than not at all.
    assert shown(network("a", "resnet34", True, 9), network("b", "resnet50", True, 3)) == {
        "curves": ["a", "b"],
        "figure4_architecture": ["a", "b"],
    }


def test_one_arm_alone_has_a_table_and_no_pairs() -> None:
    alone = Compared("a", "", {"test": answers(0)}, "resnet34", True, None)
    found = compare.found([alone], {}, load_config(None, {"evaluate.bootstrap_samples": "100"}).evaluate)
    assert set(found.table["arm"]) == {"a"}
    assert found.pairs == {"test": []}
    assert found.differences.empty
    assert {"part", "arm_a", "difference"} <= set(found.differences.columns)
    assert found.by_fold is None


def test_metrics_hold_the_interval_beside_each_estimate(tmp_path: Path) -> None:
    run, fetch = compared(
        tmp_path, *(evaluated(arm, {"test": answers(seed)}) for seed, arm in enumerate(("a + b", "c")))
    )
    table = read_csv(fetch("comparison.csv")).set_index(["arm", "measure"])
    for arm, name in (("a + b", "a b"), ("c", "c")):
        for measure in ("accuracy", "auroc"):
            row = table.loc[(arm, measure)]
            for end, column in (("", "value"), ("_ci_low", "ci_low"), ("_ci_high", "ci_high")):
                assert run.data.metrics[f"test/{measure}/{name}{end}"] == pytest.approx(row[column])
