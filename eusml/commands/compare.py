"""Entry point `compare`: all arms side by side on the same held-out cases, and beside what needs no image."""

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from eusml.commands.data import StudyData, study_data
from eusml.commands.evaluate import LAYERS, Evaluation, evaluation, predictions, reported_cases
from eusml.commands.job import Job, open_job, run_stage
from eusml.commands.terminal import say
from eusml.commands.train import trained_model
from eusml.config import Config
from eusml.digests import fingerprint
from eusml.evaluation import baselines, comparison, figures, paper, report
from eusml.tracking import runs


def run(config: Config) -> None:
    """Compare all arms, as an MLflow run of its own."""
    with open_job("compare", config) as job:
        study = study_data(job)
        compare(job, study, all_evaluations(job, study))


def all_evaluations(job: Job, study: StudyData) -> list[Evaluation]:
    """Every arm trained and evaluated, in the order of the experiment file."""
    return [
        evaluation(job, study, trained_model(job, study, arm, settings))
        for arm, settings in job.config.arm_settings().items()
    ]


def compare(job: Job, study: StudyData, evaluations: Sequence[Evaluation]) -> None:
    """Record the side-by-side table, paired tests, curves and clinical baselines."""
    manifest = study.prepared.manifest
    inputs = {
        **study.key,
        "evaluations": [[e.model.arm, e.run_id] for e in evaluations],
        "settings": job.config.evaluate.model_dump(mode="json"),
    }
    key = fingerprint("compare", inputs, LAYERS)
    tags = runs.common_tags("compare", source=manifest.source, synthetic=manifest.synthetic, fingerprint=key)

    def make(run: runs.Run) -> bool:
        _log(run, job, study, evaluations)
        return True

    run_stage(job, "compare", "compare", key, tags, make=make, reuse=lambda _: True)


def _log(run: runs.Run, job: Job, study: StudyData, evaluations: Sequence[Evaluation]) -> None:
    settings, manifest = job.config.evaluate, study.prepared.manifest
    arms = _by_part({e.model.arm: e.predictions for e in evaluations})
    without_image = _by_part(_baselines(job, study))
    tables, pairs = [], {}
    for part, answers in arms.items():
        everyone = answers | {f"{name}, no image": table for name, table in without_image.get(part, {}).items()}
        tables.append(comparison.side_by_side(everyone, settings).assign(part=part))
        if part != "val":  # where models are chosen, and nothing is claimed
            pairs[part] = comparison.compare_all(
                answers, confidence=settings.confidence, samples=settings.bootstrap_samples
            )
    table = pd.concat(tables, ignore_index=True)
    run.table(table, "comparison.csv")
    run.json({part: [vars(pair) for pair in results] for part, results in pairs.items()}, "pairs.json")
    run.metrics(_flat(table))
    for measure in ("accuracy", "auroc"):
        run.figure(figures.forest(table, measure, synthetic=manifest.synthetic), f"{measure}.png")
    histories = {e.model.arm: e.model.history for e in evaluations}
    run.figure(figures.learning_curves(histories, synthetic=manifest.synthetic), "curves.png")
    run.text(paper.paper_markdown(), "paper_table.md")
    run.note(report.comparison_note(table, pairs, synthetic=manifest.synthetic))
    for part in pairs:
        _say_table(table[table["part"] == part], part)
    for result in pairs["test"]:
        say(f"  {result.sentence()}")


def _baselines(job: Job, study: StudyData) -> dict[str, dict[str, pd.DataFrame]]:
    """Predictions of every clinical baseline, by name and partition."""
    train = study.prepared.manifest.table.iloc[study.split.indices("train")]
    tables = {part: reported.table for part, reported in reported_cases(job, study).items()}
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for baseline in baselines.clinical_baselines(train, tables):
        if baseline.reason:
            say(f"  no baseline {baseline.name}: {baseline.reason}")
            continue
        found[baseline.name] = {
            part: predictions(tables[part], y_score, job.config.evaluate.threshold)
            for part, y_score in baseline.scores.items()
        }
    return found


def _by_part(by_name: Mapping[str, Mapping[str, pd.DataFrame]]) -> dict[str, dict[str, pd.DataFrame]]:
    """Name → partition → table, turned to partition → name → table."""
    turned: dict[str, dict[str, pd.DataFrame]] = {}
    for name, parts in by_name.items():
        for part, table in parts.items():
            turned.setdefault(part, {})[name] = table
    return turned


def _flat(table: pd.DataFrame) -> dict[str, float]:
    """Accuracy and AUROC of all arms as metrics, so that the UI can chart them side by side."""
    kept = table[table["measure"].isin(["accuracy", "auroc"]) & table["value"].notna()]
    # MLflow takes letters, digits and a few signs in a metric's name.
    return {
        f"{row['part']}/{row['measure']}/{re.sub(r'[^A-Za-z0-9_. -]', '', row['arm'])}": float(row["value"])
        for row in kept.to_dict("records")
    }


def _say_table(table: pd.DataFrame, part: str) -> None:
    say(f"  {part}: {report.PARTS[part]}")
    for arm in table["arm"].unique():
        say(f"    {arm:<28}" + "   ".join(f"{name} {text}" for name, text in report.arm_texts(table, arm).items()))
