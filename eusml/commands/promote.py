"""Entry point `promote`: register every arm's model and give the chosen one the alias that is served."""

from collections.abc import Sequence
from dataclasses import dataclass

from eusml.commands.compare import all_evaluations
from eusml.commands.data import StudyData, study_data
from eusml.commands.evaluate import Evaluation
from eusml.commands.job import Job, open_job
from eusml.commands.terminal import say
from eusml.config import Config
from eusml.errors import PromotionError
from eusml.evaluation import gate, report
from eusml.tracking import registry, runs, store


@dataclass(frozen=True)
class Promotion:
    """What the registry says after the stage."""

    registered_name: str
    version: str
    alias: str
    reason: str
    promoted: bool
    """Whether the alias moved; False when the standing champion stays, this very model included."""


def run(config: Config) -> None:
    """Register and promote, as an MLflow run of its own."""
    check_candidates(config)
    with open_job("promote", config) as job:
        study = study_data(job)
        promotion = promote(job, study, all_evaluations(job, study))
    say_next_steps(promotion)


def check_candidates(config: Config) -> None:
    """Say at once, and not after hours of training, that no arm could be promoted.

    Raises:
        PromotionError: no arm has the architecture `promote.arch`.
    """
    archs = {arm.train.arch for arm in config.arm_configs().values()}
    if config.promote.arch not in archs:
        raise PromotionError(
            f"promote.arch is {config.promote.arch}, but the arms are of {', '.join(sorted(archs))}; add such an arm, "
            "or ask for another architecture with -P promote.arch=…"
        )


def promote(job: Job, study: StudyData, evaluations: Sequence[Evaluation]) -> Promotion:
    """Register all arms and move the alias to the chosen candidate, unless the champion is better evidenced.

    Never reused: the registry may have changed since.

    Raises:
        PromotionError: no arm of the asked architecture, or several between which nothing but the reported cases
            could decide.
    """
    manifest = study.prepared.manifest
    tags = runs.common_tags("promote", source=manifest.source, synthetic=manifest.synthetic, fingerprint="")
    if job.entry == "promote":
        job.run.tags(tags)
        return _promote(job, job.run, evaluations)
    with runs.child_run(job.run, "promote", tags) as run:
        return _promote(job, run, evaluations)


def _promote(job: Job, run: runs.Run, evaluations: Sequence[Evaluation]) -> Promotion:
    settings = job.config.promote
    choice = gate.choose(
        [_candidate(e) for e in evaluations if e.model.bundle.spec.arch == settings.arch], settings.arm
    )
    versions = {e.model.arm: _register(e) for e in evaluations}
    winner = versions[choice.candidate.arm]
    champion = registry.champion(winner.name, settings.alias)
    replaces, reason = True, "there is no champion yet"
    if champion is not None and champion.version != winner.version:
        replaces, reason = gate.replaces(_evidence_of(champion), choice.candidate)
    elif champion is not None:
        replaces, reason = False, "it is the champion already"
    if replaces:
        registry.set_champion(winner.name, winner.version, settings.alias)
    standing = winner if replaces or champion is None else champion
    result = Promotion(standing.name, standing.version, settings.alias, f"{choice.reason}; {reason}", replaces)
    run.note(report.promotion_note(vars(result), synthetic=job.synthetic))
    registered = {arm: f"{version.name}/{version.version}" for arm, version in versions.items()}
    run.json({**vars(result), "versions": registered}, "decision.json")
    say(f"[promote] {standing.name} version {standing.version} is {settings.alias}: {result.reason}")
    return result


def _candidate(evaluation: Evaluation) -> gate.Candidate:
    val = evaluation.predictions.get("val")
    low = None if val is None else gate.lower_bound(val["y_true"].to_numpy(), val["y_score"].to_numpy())
    return gate.Candidate(evaluation.model.arm, evaluation.run_id, low, evaluation.val_cases_digest)


def _register(evaluation: Evaluation) -> registry.RegisteredVersion:
    spec = evaluation.model.bundle.spec
    candidate = _candidate(evaluation)
    tags = {
        "eusml.arm": evaluation.model.arm,
        "eusml.protocol": evaluation.protocol,
        "eusml.synthetic": str(spec.synthetic).lower(),
        "eusml.evaluation_run": evaluation.run_id,
        "eusml.weights_sha256": spec.weights_sha256,
    }
    if candidate.val_auroc_ci_low is not None and candidate.val_digest is not None:
        tags |= {
            "eusml.val_auroc_ci_low": repr(candidate.val_auroc_ci_low),
            "eusml.val_cases_digest": candidate.val_digest,
        }
    assert evaluation.model.model_id is not None, "only models that are kept are registered"
    name = registry.registered_name(spec.arch, spec.synthetic)
    description = evaluation.note
    return registry.register(evaluation.model.model_id, name, tags, description)


def _evidence_of(champion: registry.RegisteredVersion) -> gate.Candidate:
    low = champion.tags.get("eusml.val_auroc_ci_low")
    return gate.Candidate(
        arm=champion.tags.get("eusml.arm", "?"),
        run_id=champion.tags.get("eusml.evaluation_run", "?"),
        val_auroc_ci_low=None if low is None else float(low),
        val_digest=champion.tags.get("eusml.val_cases_digest"),
    )


def say_next_steps(promotion: Promotion) -> None:
    """The commands that a person wants now, ready to copy."""
    uri = f"models:/{promotion.registered_name}@{promotion.alias}"
    say("")
    say("Next:")
    say(f"  compare the runs    {store.ui_command()}")
    say(f"  serve the model     {store.serve_command(uri)}")
    say("Research software: no output of it is fit for diagnosis.")
