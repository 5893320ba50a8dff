"""A champion's life on a tiny cohort: promoted, defended, displaced, rolled back; and what is refused on the way."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from tests.integration.conftest import Place, make_place

pytestmark = pytest.mark.slow
NAME = "eusml-phantom-resnet34"


@dataclass(frozen=True)
class Registry:
    """A place with three networks that differ in their seed, none of them promoted yet."""

    place: Place
    client: MlflowClient
    ranked: tuple[int, ...]
    """Seeds, by AUROC on the cases that decide, lowest first."""

    def ask(self, entry: str, *words: str, code: int | None = 0) -> str:
        found, said = self.place.ask(entry, *words)
        assert code is None or found == code, said[-3000:]
        return said

    def promote(self, seed: int, *words: str, code: int = 0) -> str:
        return self.ask("promote", "--train.seed", str(seed), *words, code=code)

    def versions(self) -> list[str]:
        return sorted(str(found.version) for found in self.client.search_model_versions(f"name = '{NAME}'"))

    def alias(self, alias: str) -> str:
        return str(self.client.get_model_version_by_alias(NAME, alias).version)

    def newest_decision(self, entry: str = "promote") -> dict[str, Any]:
        experiment = self.client.get_experiment_by_name("tiny")
        assert experiment is not None
        (run,) = self.client.search_runs(
            [experiment.experiment_id], f"tags.`eusml.stage` = '{entry}'",
            order_by=["attributes.start_time DESC"], max_results=1,
        )  # fmt: skip
        assert run.info.status == "FINISHED"
        file = self.client.download_artifacts(run.info.run_id, "decision.json")
        decision: dict[str, Any] = json.loads(Path(file).read_text())
        assert run.data.tags["eusml.decision"] == decision["outcome"]
        assert "| rule |" in run.data.tags["mlflow.note.content"]
        return decision

    def failed(self, entry: str = "promote") -> list[str]:
        return [rule["rule"] for rule in self.newest_decision(entry)["rules"] if not rule["passed"]]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    place = make_place(tmp_path_factory.mktemp("promotion"))
    lines = [line for line in place.experiment.read_text().splitlines() if "name: resnet50" not in line]
    text = "\n".join(lines).replace("selection_cases: 6, fresh_cases: 10", "selection_cases: 20, fresh_cases: 0")
    text = text.replace("policy: {", "policy: {margin: 1.0, ").replace("train: {", "train: {offline: false, ")
    place.experiment.write_text(text + "\n")
    client = MlflowClient(tracking_uri=place.environment["MLFLOW_TRACKING_URI"])
    # Which of them is best depends on the machine, but not that some are better than others.
    areas = {seed: _area(place, client, seed) for seed in (0, 1, 2)}
    assert len(set(areas.values())) > 1, areas
    return Registry(place, client, tuple(sorted(areas, key=lambda seed: areas[seed])))


def _area(place: Place, client: MlflowClient, seed: int) -> float:
    code, said = place.ask("evaluate", "--train.seed", str(seed))
    assert code == 0, said
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "tags.`eusml.stage` = 'evaluate'",
                                order_by=["attributes.start_time DESC"], max_results=1)  # fmt: skip
    return run.data.metrics["val/auroc"]


def test_a_dry_run_decides_and_moves_nothing(registry: Registry) -> None:
    said = registry.promote(registry.ranked[0], "--promote.dry_run", "true")
    assert "would be promoted to champion; this is a dry run, and nothing was moved" in said
    assert registry.newest_decision()["outcome"] == "would be promoted"
    assert registry.versions() == []
    assert "has no eusml-phantom-resnet34 with a history" in registry.ask("history", code=2)
    assert "nothing to roll back" in registry.ask("rollback", code=3)


def run_of(registry: Registry, stage: str) -> str:
    """The run that the candidate's stage was recorded in."""
    experiment = registry.client.get_experiment_by_name("tiny")
    assert experiment is not None
    seed = f"params.`cfg.train.seed` = '{registry.ranked[0]}' and " if stage != "data" else ""
    found = registry.client.search_runs([experiment.experiment_id], f"{seed}tags.`eusml.stage` = '{stage}'",
                                        order_by=["attributes.start_time ASC"])  # fmt: skip
    return next(run.info.run_id for run in found if "eusml.reused_run" not in run.data.tags)


RECORDS = {
    "git state": ("train", "eusml.git_commit", "unknown"),
    "digests match": ("evaluate", "eusml.val_digest", "0" * 64),
    "digests match: split": ("data", "eusml.split_digest", "0" * 64),
}


@pytest.mark.parametrize("rule", RECORDS)
def test_a_candidate_whose_records_do_not_bear_it_out_is_refused(rule: str, registry: Registry) -> None:
    stage, tag, wrong = RECORDS[rule]
    run = run_of(registry, stage)
    right = registry.client.get_run(run).data.tags[tag]
    registry.client.set_tag(run, tag, wrong)
    registry.promote(registry.ranked[0], "--promote.dry_run", "true", "--promote.policy.require_git", "known", code=3)
    registry.client.set_tag(run, tag, right)
    assert registry.failed() == [rule.partition(":")[0]]


def test_a_candidate_from_a_doubtful_audit_or_ill_calibrated_is_refused(registry: Registry) -> None:
    run = run_of(registry, "data")
    file = Path(registry.client.download_artifacts(run, "audit/findings.csv"))
    whole = file.read_text()
    registry.client.log_text(run, whole + '"same picture, two labels",grouped,text,P0001\n', "audit/findings.csv")
    registry.promote(
        registry.ranked[0], "--promote.dry_run", "true", "--promote.policy.calibration_error_cap", "0.0", code=3
    )
    registry.client.log_text(run, whole, "audit/findings.csv")
    assert registry.failed() == ["audit is clean", "calibration"]


def test_a_candidate_below_a_floor_is_refused_and_recorded_and_stays_challenger(registry: Registry) -> None:
    said = registry.promote(registry.ranked[0], "--promote.policy.auroc_floor", "1.0", code=3)
    assert "FAILED  AUROC above its floor" in said
    assert registry.failed() == ["AUROC above its floor"]
    assert registry.alias("challenger") == "1"
    assert registry.versions() == ["1"]
    version = registry.client.get_model_version(NAME, "1")
    assert version.tags["eusml.decision"] == "refused"
    assert "nobody has been champion yet" in registry.ask("history")


def test_the_first_candidate_that_meets_the_rules_is_promoted(registry: Registry) -> None:
    assert f"{NAME} version 1: promoted to champion" in registry.promote(registry.ranked[0])
    assert registry.alias("champion") == registry.alias("challenger") == "1"
    decision = registry.newest_decision()
    assert decision["promoted"]
    assert (decision["version"], decision["champion"], decision["part"]) == ("1", None, "val")
    version = registry.client.get_model_version(NAME, "1")
    assert "promoted to champion" in version.description
    assert "SYNTHETIC" in version.description
    for heading in ("What it is for", "What it can do", "What nobody knows", "Licence", "Where it is recorded"):
        assert f"## {heading}" in version.description
    by, folder = version.tags["eusml.registered_by"], version.tags["eusml.registered_as"]
    card = Path(registry.client.download_artifacts(by, f"{folder}/model_card.md")).read_text(encoding="utf-8")
    assert "| mcc |" in card
    assert "SYNTHETIC" in registry.client.get_registered_model(NAME).description
    assert "it is the champion already" in registry.promote(registry.ranked[0])


def test_a_better_one_takes_its_place_and_a_worse_one_does_not(registry: Registry) -> None:
    registry.promote(registry.ranked[-1])
    assert (registry.alias("champion"), registry.newest_decision()["champion"]) == ("2", "1")
    displaced = registry.client.get_model_version(NAME, "1")
    assert displaced.tags["eusml.decision"] == "displaced"
    assert displaced.description.startswith("**Displaced, no longer champion**: version 2 is, by run ")
    said = registry.promote(registry.ranked[0], code=3)
    assert "FAILED  better than the champion" in said
    assert (registry.alias("champion"), registry.alias("challenger")) == ("2", "1")
    # Where the cases cannot show it, it has not been shown.
    assert "not inferior to the champion" in registry.promote(
        registry.ranked[0], "--promote.policy.margin", "0.0", code=3
    )


def test_a_champion_of_another_image_size_is_asked_about_the_same_cases(registry: Registry) -> None:
    words = ("--data.image_size_px", "48", "--promote.dry_run", "true", "--promote.policy.metric", "accuracy")
    registry.ask("promote", *words, code=None)
    decision = registry.newest_decision()
    assert decision["outcome"] in ("refused", "would be promoted")
    rules = {rule["rule"]: rule for rule in decision["rules"]}
    assert rules["not inferior to the champion"]["figures"]["cases"] == 20
    assert rules["champion was not trained on these cases"]["passed"]


def test_a_champion_that_was_trained_on_the_cases_is_not_compared(registry: Registry) -> None:
    # Without cases set aside the held-out ones decide, and another split holds out what the champion was trained on.
    without = ("--data.phantom.selection_cases", "0", "--calibrate.cases", "none")
    said = registry.promote(0, *without, "--split.seed", "5", code=3)
    assert "version 2 was trained on" in said
    assert registry.failed() == ["champion was not trained on these cases"]
    assert registry.newest_decision()["part"] == "test"


def test_a_damaged_champion_is_said_and_rolled_back_and_not_gone_back_to(registry: Registry) -> None:
    source = registry.client.get_model_version(NAME, "2").source.removeprefix("models:/")
    location = registry.client.get_logged_model(source).artifact_location.removeprefix("file://")
    weights = Path(location) / "artifacts" / "bundle" / "weights.safetensors"
    with weights.open("r+b") as file:
        file.seek(-1000, os.SEEK_END)
        (value,) = file.read(1)
        file.seek(-1000, os.SEEK_END)
        file.write(bytes([value ^ 1]))
    said = registry.promote(registry.ranked[0], code=3)
    assert "version 2 is not sound, roll it back first" in said
    assert "changed: artifacts/bundle/weights.safetensors" in said
    said = registry.promote(registry.ranked[-1], code=3)
    assert "FAILED  model files are sound" in said
    assert "version 1: champion again" in registry.ask("rollback")
    assert registry.alias("champion") == "1"
    assert "version 1: champion again" in registry.client.get_model_version(NAME, "1").description.splitlines()[2]
    assert registry.client.get_model_version(NAME, "2").description.startswith("**Rolled back, no longer champion**")
    assert "model files are sound" in registry.ask("rollback", "--promote.rollback_to", "2", code=3)
    assert registry.failed("rollback") == ["model files are sound"]
    with weights.open("r+b") as file:
        file.seek(-1000, os.SEEK_END)
        file.write(bytes([value]))


def test_rollback_has_rules_of_its_own(registry: Registry) -> None:
    assert "there is none to go back to" in registry.ask("rollback", code=3)
    assert "version 3 never was champion" in registry.ask("rollback", "--promote.rollback_to", "3", code=3)
    assert registry.alias("champion") == "1"
    said = registry.promote(registry.ranked[-1], code=3)
    assert "version 2 was rolled back at" in said
    assert "would be champion again" in registry.ask(
        "rollback", "--promote.rollback_to", "2", "--promote.dry_run", "true"
    )
    assert registry.alias("champion") == "1"
    registry.ask("rollback", "--promote.rollback_to", "2")
    assert registry.alias("champion") == "2"


def test_an_alias_moved_by_hand_is_put_back_and_the_history_tells_all(registry: Registry) -> None:
    registry.client.set_registered_model_alias(NAME, "champion", "1")
    assert "alias champion is at version 1 now" in registry.ask("history")
    assert "it was put back" in registry.promote(registry.ranked[0], code=3)
    assert registry.alias("champion") == "2"
    lines = registry.ask("history").splitlines()
    table = pd.DataFrame([line.split() for line in lines[2:]])
    assert table[0].tolist() == ["1", "2", "3", "4"]
    assert table[4].tolist() == ["promotion", "promotion", "rollback", "rollback"]
    assert table[5].tolist() == ["-", "1", "2", "1"]
    assert table[6].tolist() == ["1", "2", "1", "2"]
    assert table[7].str.len().eq(12).all()
    for digest, run in zip(table[7], table[8], strict=True):
        decision = Path(registry.client.download_artifacts(run, "decision.json"))
        assert hashlib.sha256(decision.read_bytes()).hexdigest().startswith(digest)


def test_of_two_that_promote_at_once_the_better_one_is_champion_whoever_was_first(
    registry: Registry, tmp_path: Path
) -> None:
    place, words = registry.place, ("--promote.alias", "raced")
    seeds = (registry.ranked[0], registry.ranked[-1])
    racing = [
        place.start("promote", "--experiment", str(place.experiment), "--train.seed", str(seed), *words,
                    "--work_dir", str(tmp_path / f"work{seed}"), log=tmp_path / f"{seed}.log")
        for seed in seeds
    ]  # fmt: skip
    worse, better = (process.wait(timeout=300) for process in racing)
    said = [(tmp_path / f"{seed}.log").read_text() for seed in seeds]
    assert better == 0, said[1]
    assert worse in (0, 3), said[0]
    assert registry.alias("raced") == registry.alias("champion") == "2"
    table = registry.ask("history", *words).splitlines()[2:]
    assert [line.split()[6] for line in table] == (["1", "2"] if worse == 0 else ["2"])
