"""Entry point `compare`: networks side by side on the same held-out cases, and beside what needs no image."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from eusml.commands.compared import Compared, compared_arms, compared_runs, stored_evaluations
from eusml.commands.data import StudyData, study_data
from eusml.commands.evaluate import LAYERS, Evaluation, evaluation
from eusml.commands.job import Job, open_job, run_stage
from eusml.commands.reported import Reported, predictions, reported_cases
from eusml.commands.terminal import say
from eusml.commands.train import trained_model
from eusml.commands.tune import settled
from eusml.commands.turns import say_of_unlearnt_turns
from eusml.config import Config, EvaluateConfig
from eusml.digests import fingerprint
from eusml.evaluation import baselines, comparison, differences, interactive, paper, report, resampled_t
from eusml.evaluation.figures import drawing, single
from eusml.sentences import records
from eusml.tracking import runs
from eusml.tracking.selection import METHODS_FILE

Parts = Mapping[str, Mapping[str, pd.DataFrame]]
"""Partition to name to answers."""
_CONTRASTS = {"figure3_augmentation": "offline", "figure4_architecture": "arch"}
"""The study's figures of curves, and what the networks of each differ in."""


@dataclass(frozen=True)
class Found:
    """What the cases say about the networks."""

    answers: Parts
    """Those of the networks, and of the baselines beside them."""
    table: pd.DataFrame
    """Columns part, arm, measure, value, ci_low, ci_high, count, total, method."""
    pairs: Mapping[str, Sequence[comparison.PairedResult]]
    differences: pd.DataFrame
    by_fold: pd.DataFrame | None
    """Corrected t-test over the folds of the test partition; None without folds."""


def run(config: Config) -> None:
    """Compare all arms, or the evaluation runs that `compare.runs` names, as an MLflow run of its own."""
    with open_job("compare", config) as job:
        if config.compare.runs:
            compare_runs(job)
        else:
            study = study_data(job)
            compare(job, study, all_evaluations(job, study))


def all_evaluations(job: Job, study: StudyData) -> list[Evaluation]:
    """Every arm tuned, if that is asked for, trained and evaluated, in the order of the experiment file."""
    found = []
    arms = job.config.arm_configs()
    say_of_unlearnt_turns(arms)
    for arm, config in arms.items():
        sized, config = settled(job, study, arm, config)
        found.append(evaluation(job, sized, trained_model(job, sized, arm, config), config))
    return found


def compare(
    job: Job, study: StudyData, evaluations: Sequence[Evaluation], without_image: Callable[[], Parts] | None = None
) -> None:
    """Record the arms' side-by-side table, paired tests, curves and clinical baselines.

    Args:
        job: the running job.
        study: what they were trained on.
        evaluations: the arms.
        without_image: makes the answers of the baselines; by default those fitted on the study's training partition.
    """

    def fitted_once() -> Parts:
        cases = reported_cases(job, study, job.config.data)
        return baseline_answers(study, cases, job.config.evaluate.threshold)

    manifest = study.prepared.manifest
    inputs = {
        **study.key,
        "evaluations": [[e.model.arm, e.run_id] for e in evaluations],
        "settings": job.config.evaluate.model_dump(mode="json"),
    }
    key = fingerprint("compare", inputs, LAYERS)
    tags = runs.common_tags("compare", source=manifest.source, synthetic=manifest.synthetic, fingerprint=key)

    def make(run: runs.Run) -> bool:
        beside = without_image or fitted_once
        _log(run, job, compared_arms(evaluations), beside(), synthetic=manifest.synthetic)
        return True

    run_stage(job, "compare", "compare", key, tags, make=make, reuse=lambda _: True)


def compare_runs(job: Job) -> None:
    """Record the same of evaluation runs from the store, without reading an image.

    Raises:
        DataError: they were not measured on the same test cases.
        TrackingError: one is not in the store, did not finish, is no evaluation run, or stands there twice.
    """
    stored = stored_evaluations(job.config.compare.runs)
    inputs = {
        "runs": [one.run_id for one in stored],
        "settings": job.config.evaluate.model_dump(mode="json"),
    }
    synthetic = any(one.tags.get(runs.SYNTHETIC) == "true" for one in stored)
    source = stored[0].tags.get(runs.SOURCE, "unknown")
    key = fingerprint("compare", inputs, ("evaluation",))
    tags = runs.common_tags("compare", source=source, synthetic=synthetic, fingerprint=key)
    job.synthetic = synthetic

    def make(run: runs.Run) -> bool:
        _log(run, job, compared_runs(job, stored), {}, synthetic=synthetic)
        return True

    run_stage(job, "compare", "compare", key, tags, make=make, reuse=lambda _: True)


def _log(run: runs.Run, job: Job, networks: Sequence[Compared], without_image: Parts, *, synthetic: bool) -> None:
    """Compare the networks, beside baselines by partition and name, and record all of it."""
    result = found(networks, without_image, job.config.evaluate)
    run.json({network.name: network.run_id for network in networks}, "runs.json")
    run.table(result.table, "comparison.csv")
    run.json({part: [vars(pair) for pair in results] for part, results in result.pairs.items()}, "pairs.json")
    methods = [pair.method for results in result.pairs.values() for pair in results]
    run.json(records([*methods, *result.table["method"]]), METHODS_FILE)
    run.table(result.differences, "differences.csv")
    out_of_fold = any("fold" in network.predictions["test"] for network in networks)
    by_fold = [] if result.by_fold is None else resampled_t.sentences(result.by_fold)
    if result.by_fold is not None:
        run.table(result.by_fold, "resampled_t.csv")
    run.metrics(_flat(result.table))
    page = interactive.curves_page(
        result.answers, result.table, job.config.evaluate.threshold, synthetic=synthetic, out_of_fold=out_of_fold
    )
    run.text(page, "roc_pr_calibration.html")
    marks = {"synthetic": synthetic, "out_of_fold": out_of_fold}
    run.artifacts(drawing.files(_drawn(networks, result.table, job.config.evaluate.confidence, **marks)))
    run.text(paper.paper_markdown(), "paper_table.md")
    run.note(report.comparison_note(result.table, result.pairs, by_fold, synthetic=synthetic, out_of_fold=out_of_fold))
    for part in result.pairs:
        _say_table(result.table[result.table["part"] == part], part, out_of_fold=out_of_fold)
    for sentence in [*(pair.sentence() for pair in result.pairs["test"]), *by_fold]:
        say(f"  {sentence}")


def found(networks: Sequence[Compared], without_image: Parts, settings: EvaluateConfig) -> Found:
    """Compare the networks on every partition.

    Args:
        networks: what is compared with one another.
        without_image: answers of baselines, which are tabled beside them.
        settings: how.

    Raises:
        DataError: they were not measured on the same cases.
    """
    by_part = _by_part({network.name: network.predictions for network in networks})
    shown: dict[str, Mapping[str, pd.DataFrame]] = {}
    tables, pairs, differing = [], {}, []
    for part, answers in by_part.items():
        everyone = answers | {f"{name}, no image": table for name, table in without_image.get(part, {}).items()}
        shown[part] = everyone
        tables.append(comparison.side_by_side(everyone, settings).assign(part=part))
        if part != "val":  # where models are chosen, and nothing is claimed
            pairs[part] = comparison.compare_all(
                answers, confidence=settings.confidence, samples=settings.bootstrap_samples
            )
            differing.append(differences.paired_differences(answers, settings).assign(part=part))
    folded = len(networks) > 1 and all("fold" in table.columns for table in by_part["test"].values())
    return Found(
        shown,
        pd.concat(tables, ignore_index=True),
        pairs,
        pd.concat(differing, ignore_index=True),
        resampled_t.compare_folds(by_part["test"], settings.confidence) if folded else None,
    )


def _drawn(
    networks: Sequence[Compared], table: pd.DataFrame, confidence: float, *, synthetic: bool, out_of_fold: bool
) -> Iterator[drawing.Drawing]:
    """The table as forest plots, and the networks' learning curves."""
    for measure in ("accuracy", "auroc"):
        yield single.of_comparison(table, measure, confidence, synthetic=synthetic, out_of_fold=out_of_fold)
    # Where every case is held out once, the network that is kept was trained on all of them.
    cases = networks[0].predictions["test"]["case_id"].nunique()
    counts = {"train": cases} if out_of_fold else {"test": cases}
    for name, histories in curves(networks).items():
        yield single.of_course(name, histories, counts, synthetic=synthetic)


def curves(networks: Sequence[Compared]) -> dict[str, dict[str, pd.DataFrame]]:
    """Name of every figure of curves to the histories that it shows, by network: all, and the study's contrasts.

    Figure 3 shows networks that differ in off-line augmentation and figure 4 in architecture, and in nothing else; such
    that differ in epochs, too, stand there only where no two of equal epochs do.
    """
    known = [network for network in networks if network.history is not None]
    chosen = {"curves": known} | {name: _differing_in(what, known) for name, what in _CONTRASTS.items()}
    return {
        name: {network.name: network.history for network in shown if network.history is not None}
        for name, shown in chosen.items()
        if shown
    }


def _differing_in(what: str, networks: Sequence[Compared]) -> list[Compared]:
    """Those of all pairs that differ in this, `arch` or `offline`, and agree in the other, in their order."""
    (other,) = {"arch", "offline"} - {what}
    pairs = [
        (a, b)
        for a, b in combinations(networks, 2)
        if None not in (a.offline, b.offline)
        and getattr(a, what) != getattr(b, what)
        and getattr(a, other) == getattr(b, other)
    ]
    even = [(a, b) for a, b in pairs if a.epochs == b.epochs]
    names = {network.name for pair in even or pairs for network in pair}
    return [network for network in networks if network.name in names]


def baseline_answers(
    study: StudyData, cases: Mapping[str, Reported], threshold: float
) -> dict[str, dict[str, pd.DataFrame]]:
    """What every clinical baseline says of the cases, by partition and name; says why one cannot be fitted.

    Args:
        study: its training partition is what they are fitted on.
        cases: partition to the cases that they are asked about.
        threshold: positive from here on.
    """
    train = study.prepared.manifest.table.iloc[study.split.indices("train")]
    tables = {part: reported.table for part, reported in cases.items()}
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for baseline in baselines.clinical_baselines(train, tables):
        if baseline.reason:
            say(f"  no baseline {baseline.name}: {baseline.reason}")
            continue
        found[baseline.name] = {
            part: predictions(tables[part], y_score, threshold) for part, y_score in baseline.scores.items()
        }
    return _by_part(found)


def _by_part(by_name: Mapping[str, Mapping[str, pd.DataFrame]]) -> dict[str, dict[str, pd.DataFrame]]:
    """Name → partition → table, turned to partition → name → table."""
    turned: dict[str, dict[str, pd.DataFrame]] = {}
    for name, parts in by_name.items():
        for part, table in parts.items():
            turned.setdefault(part, {})[name] = table
    return turned


def _flat(table: pd.DataFrame) -> dict[str, float]:
    """Accuracy and AUROC of all arms as metrics, intervals beside them, so that the UI can chart them side by side."""
    kept = table[table["measure"].isin(["accuracy", "auroc"]) & table["value"].notna()]
    values: dict[str, float] = {}
    for row in kept.to_dict("records"):
        # MLflow takes letters, digits and a few signs in a metric's name.
        arm = re.sub(r" +", " ", re.sub(r"[^A-Za-z0-9_. -]", "", row["arm"]))
        name = f"{row['part']}/{row['measure']}/{arm}"
        values |= {name: row["value"], f"{name}_ci_low": row["ci_low"], f"{name}_ci_high": row["ci_high"]}
    return {name: float(value) for name, value in values.items() if not pd.isna(value)}


def _say_table(table: pd.DataFrame, part: str, *, out_of_fold: bool) -> None:
    say(f"  {part}: {report.part_text(part, out_of_fold=out_of_fold)}")
    for arm in table["arm"].unique():
        say(f"    {arm:<28}" + "   ".join(f"{name} {text}" for name, text in report.arm_texts(table, arm).items()))
