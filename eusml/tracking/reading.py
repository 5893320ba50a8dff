"""What a report says, read from the store: runs, parameters, metrics and artifacts to `Contents`."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eusml.config import EvaluateConfig
from eusml.data.findings import Finding, FlowStep, findings_of, flow_of
from eusml.errors import TrackingError
from eusml.evaluation.comparison import EXACT, PairedResult
from eusml.evaluation.intervals import FORMULAS
from eusml.evaluation.reporting.contents import Arm, Contents, Failure, Study
from eusml.sentences import Sentence, recorded
from eusml.tables import read_csv
from eusml.tracking import lookup, runs
from eusml.tracking.artifacts import TEXT_COLUMNS, Files
from eusml.tracking.selection import ARM, AUDIT_FILE, ENVIRONMENT_FILE, METHODS_FILE, PROTOCOL, TRAIN_RUN, Selection
from eusml.tracking.store import client

FAILURES = "misclassified"
"""Folder of an evaluation run: pictures of its worst errors, and `PART.csv`: case_id, y_true, y_score, file."""
_FOLD = re.compile(r"-\d+_\d+$")


def read_contents(selection: Selection, folder: Path) -> Contents:
    """Everything that a report of these runs may say.

    Raises:
        TrackingError: an artifact is missing or damaged; it names run and artifact.
    """
    files = Files(folder)
    holder = client().get_run(selection.settings_of)
    settings = _settings(holder.data.params, "cfg.")
    tags = holder.data.tags
    pipeline = selection.stages is not None
    arms = _arms(selection, files)
    first = client().get_run(arms[0].run_id).data.tags
    started = datetime.fromtimestamp(holder.info.start_time / 1000, UTC)
    return Contents(
        name=str(settings.get("name", "experiment")),
        run_ids=selection.asked,
        started=started.strftime("%Y-%m-%d %H:%M UTC"),
        source=first.get(runs.SOURCE, "unknown"),
        synthetic=any(client().get_run(arm.run_id).data.tags.get(runs.SYNTHETIC) == "true" for arm in arms),
        settings=settings,
        evaluate=_evaluate_settings(settings, selection.settings_of),
        arms=arms,
        methods=_methods(selection, files),
        studies=_studies(selection, files),
        stages=selection.stages,
        environment=files.json(selection.settings_of, ENVIRONMENT_FILE)
        if files.has(selection.settings_of, ENVIRONMENT_FILE)
        else {},
        commit=tags.get("eusml.git_commit", "unknown"),
        changed=tags.get("eusml.git_dirty", "unknown"),
        **_data(selection, files),
        **_augmentation(selection, files),
        **_comparison(selection, files),
        **(_decision(selection, files) if pipeline or selection.first("promote") else {}),
    )


def _settings(params: Mapping[str, str], prefix: str) -> dict[str, Any]:
    """Parameters without their prefix, and numbers as numbers again."""
    found: dict[str, Any] = {}
    for name, text in params.items():
        if name.startswith(prefix):
            try:
                found[name.removeprefix(prefix)] = json.loads(text)
            except ValueError:
                found[name.removeprefix(prefix)] = text
    return found


def _evaluate_settings(settings: Mapping[str, Any], run_id: str) -> EvaluateConfig:
    own = {name.removeprefix("evaluate."): value for name, value in settings.items() if name.startswith("evaluate.")}
    known = {name: value for name, value in own.items() if name in EvaluateConfig.model_fields}
    try:
        return EvaluateConfig.model_validate_json(json.dumps(known))
    except ValueError as error:
        raise TrackingError(f"run {run_id} was measured by settings that this version does not know: {error}") from None


def _arms(selection: Selection, files: Files) -> list[Arm]:
    evaluations = selection.by_stage.get("evaluate", ())
    compare = selection.first("compare")
    if compare is not None:
        named = {str(name): str(run_id) for name, run_id in files.json(compare.run_id, "runs.json").items()}
    else:
        named = _names([one for one in evaluations if not _FOLD.search(one.tags.get(ARM, ""))])
    by_id = {one.run_id: one for one in evaluations}
    missing = [run_id for run_id in named.values() if run_id not in by_id]
    if missing:
        raise TrackingError(
            f"the comparison is of run {', '.join(missing)}, too, which is not among those to report; name it as well, "
            "or leave the comparison out"
        )
    if not named:
        raise TrackingError(f"run {', '.join(selection.asked)} has no evaluation: there is nothing to report")
    return [_arm(name, by_id[run_id], evaluations, files) for name, run_id in named.items()]


def _names(evaluations: Sequence[lookup.StoredRun]) -> dict[str, str]:
    arms = [one.tags.get(ARM) or one.tags.get("eusml.arch", "network") for one in evaluations]
    return {
        f"{arm} {one.run_id[:8]}" if arms.count(arm) > 1 else arm: one.run_id
        for arm, one in zip(arms, evaluations, strict=True)
    }


def _arm(name: str, run: lookup.StoredRun, evaluations: Sequence[lookup.StoredRun], files: Files) -> Arm:
    protocol = run.tags.get(PROTOCOL, "holdout")
    of_parts = {part: run.run_id for part in _parts(run)}
    folds = [run]
    if protocol != "holdout":
        # Cross-validated: partitions beside `test` are those of the last network, pictures those of the folds'.
        of_parts = {"test": run.run_id}
        arm = run.tags.get(ARM, "")
        for other in evaluations:
            if other.tags.get(ARM) == arm and PROTOCOL not in other.tags:
                of_parts |= {part: other.run_id for part in _parts(other)}
        folds = [one for one in evaluations if _FOLD.sub("", one.tags.get(ARM, "")) == arm and PROTOCOL not in one.tags]
    trained = lookup.stored_run(run.tags.get(TRAIN_RUN, "that trained it"))
    metrics = {part: _metrics(run_id, part) for part, run_id in of_parts.items()}
    cases = {part: files.table_if_there(run_id, f"cases_{part}.csv") for part, run_id in of_parts.items()}
    temperature = client().get_run(trained.run_id).data.metrics.get("calibration/temperature")
    return Arm(
        name=name,
        arch=run.tags.get("eusml.arch", ""),
        run_id=run.run_id,
        train_run_id=trained.run_id,
        protocol=protocol,
        train=_settings(trained.params, "cfg.train."),
        metrics=metrics,
        tables={part: files.table(run_id, f"metrics_{part}.csv") for part, run_id in of_parts.items()},
        run_ids=of_parts,
        predictions={part: files.table(run_id, f"predictions_{part}.csv") for part, run_id in of_parts.items()},
        cases={part: table for part, table in cases.items() if table is not None},
        history=files.table(trained.run_id, "curves.csv"),
        failures=_failures(folds, files),
        folds=files.table_if_there(run.run_id, "metrics_by_fold.csv"),
        temperature=temperature,
        compute=trained.tags.get("eusml.compute", ""),
        digests={
            name: trained.tags[tag]
            for name, tag in (("weights", "eusml.weights_sha256"), ("model", "eusml.model_digest"))
            if tag in trained.tags
        },
        commit=trained.tags.get("eusml.git_commit", "unknown"),
    )


def _parts(run: lookup.StoredRun) -> list[str]:
    return [part for part in ("test", "val", "fresh") if f"eusml.{part}_digest" in run.tags]


def _metrics(run_id: str, part: str) -> dict[str, float]:
    found = client().get_run(run_id).data.metrics
    return {name.removeprefix(f"{part}/"): value for name, value in found.items() if name.startswith(f"{part}/")}


def _failures(evaluations: Sequence[lookup.StoredRun], files: Files) -> dict[str, list[Failure]]:
    found: dict[str, list[Failure]] = {}
    for one in evaluations:
        if not files.has(one.run_id, FAILURES):
            continue
        folder = files.path(one.run_id, FAILURES)
        for table in sorted(folder.glob("*.csv")):
            rows = read_csv(table, TEXT_COLUMNS).to_dict("records")
            found.setdefault(table.stem, []).extend(
                Failure(
                    str(row["case_id"]),
                    int(row["y_true"]),
                    float(row["y_score"]),
                    (folder / str(row["file"])).read_bytes(),
                )
                for row in rows
            )
    return found


def _data(selection: Selection, files: Files) -> dict[str, Any]:
    run = selection.first("data")
    if run is None:
        return {}
    digests = {
        name: run.tags[f"eusml.{name}_digest"] for name in ("data", "split") if f"eusml.{name}_digest" in run.tags
    }
    return {
        "manifest": files.table(run.run_id, "manifest.csv"),
        "split": files.table(run.run_id, "split.csv"),
        "digests": digests,
        **(_audited(run.run_id, files) if files.has(run.run_id, "audit") else {}),
    }


def _audited(run_id: str, files: Files) -> dict[str, Any]:
    """Findings and flow; of older runs the tables alone, whose English sentences are all that is known."""
    if not files.has(run_id, AUDIT_FILE):
        findings, flow = (files.table(run_id, f"audit/{name}.csv").fillna("") for name in ("findings", "flow"))
        return {
            "findings": [
                Finding(row["kind"], tuple(filter(None, row["cases"].split("; "))), row["detail"], row["decision"])
                for row in findings.to_dict("records")
            ],
            "flow": [
                FlowStep(Sentence(row["step"], f"steps.{row['step']}"), int(row["cases"]))
                for row in flow.to_dict("records")
            ],
        }
    known = files.json(run_id, AUDIT_FILE)
    try:
        return {"findings": findings_of(known), "flow": flow_of(known)}
    except (KeyError, TypeError, AttributeError) as error:
        raise TrackingError(f"artifact {AUDIT_FILE} of run {run_id} is damaged: {error!r}") from None


def _augmentation(selection: Selection, files: Files) -> dict[str, Any]:
    run = selection.first("augment")
    if run is None:
        return {}
    metrics = client().get_run(run.run_id).data.metrics
    shown = files.has(run.run_id, "augmentation.png")
    return {
        "augmentation": files.path(run.run_id, "augmentation.png").read_bytes() if shown else None,
        "augmented": {k.removeprefix("augment/"): v for k, v in metrics.items() if k.startswith("augment/")},
    }


def _comparison(selection: Selection, files: Files) -> dict[str, Any]:
    run = selection.first("compare")
    if run is None:
        return {}
    return {
        "comparison": files.table(run.run_id, "comparison.csv"),
        "pairs": _pairs(run.run_id, files),
        "by_fold": files.table_if_there(run.run_id, "resampled_t.csv"),
    }


def _pairs(run_id: str, files: Files) -> dict[str, list[PairedResult]]:
    stored = files.json(run_id, "pairs.json")
    try:
        return {part: [PairedResult.from_dict(pair) for pair in found] for part, found in stored.items()}
    except (TypeError, AttributeError) as error:
        raise TrackingError(f"artifact pairs.json of run {run_id} is of another version: {error}") from None


def _methods(selection: Selection, files: Files) -> dict[str, Sentence]:
    """English text of a method to its sentence."""
    found: list[Sentence] = [*FORMULAS, EXACT]
    for one in (*selection.by_stage.get("evaluate", ()), *selection.by_stage.get("compare", ())):
        if files.has(one.run_id, METHODS_FILE):
            path = files.path(one.run_id, METHODS_FILE)
            try:
                found += [recorded(known) for known in json.loads(path.read_text(encoding="utf-8"))]
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise TrackingError(f"artifact {METHODS_FILE} of run {one.run_id} is damaged: {error!r}") from None
    return {str(method): method for method in found}


def _decision(selection: Selection, files: Files) -> dict[str, Any]:
    run = selection.first("promote")
    if run is None:
        return {}
    decision = files.json(run.run_id, "decision.json")
    rules = [{**rule, "why": recorded(rule.get("said", {"text": rule["why"]}))} for rule in decision["rules"]]
    return {"decision": decision | {"rules": rules}}


def _studies(selection: Selection, files: Files) -> list[Study]:
    return [
        Study(
            selection.labels.get(run.run_id, run.tags.get("eusml.study", "tune")),
            run.run_id,
            files.table(run.run_id, "trials.csv"),
            files.json(run.run_id, "best.json"),
        )
        for run in selection.by_stage.get("tune", ())
    ]
