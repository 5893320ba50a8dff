"""Entry point `promote`: register every arm's model and give the chosen one the alias that is served."""

from collections.abc import Sequence
from dataclasses import dataclass

from eusml.commands.compare import all_evaluations
from eusml.commands.data import study_data
from eusml.commands.evaluate import Evaluation
from eusml.commands.job import Job, open_job
from eusml.commands.terminal import say
from eusml.config import Config
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
    """False when the standing champion stays."""


def run(config: Config) -> None:
    """Register and promote, as an MLflow run of its own."""
    with open_job("promote", config) as job:
        promotion = promote(job, all_evaluations(job, study_data(job)))
    say_next_steps(promotion)


def promote(job: Job, evaluations: Sequence[Evaluation]) -> Promotion:
    """Register all arms and move the alias to the chosen candidate, unless the champion is better evidenced.

    Never reused: the registry may have changed since.

    Raises:
        PromotionError: no arm of the asked architecture, or several between which nothing but the reported cases
            could decide.
    """
    synthetic = evaluations[0].model.bundle.spec.synthetic
    tags = runs.common_tags("promote", source=job.config.data.source, synthetic=synthetic, fingerprint="")
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
        reason = "it is the champion already"
    if replaces:
        registry.set_champion(winner.name, winner.version, settings.alias)
    standing = winner if replaces or champion is None else champion
    result = Promotion(standing.name, standing.version, settings.alias, f"{choice.reason}; {reason}", replaces)
    run.note(report.promotion_note(vars(result)))
    registered = {arm: f"{version.name}/{version.version}" for arm, version in versions.items()}
    run.json({**vars(result), "versions": registered}, "decision.json")
    say(f"[promote] {standing.name} version {standing.version} is {settings.alias}: {result.reason}")
    return result


def _candidate(evaluation: Evaluation) -> gate.Candidate:
    val = evaluation.metrics.get("val")
    low = val.estimates["auroc"].low if val is not None else None
    return gate.Candidate(evaluation.model.arm, evaluation.run_id, low, evaluation.digests.get("val"))


def _register(evaluation: Evaluation) -> registry.RegisteredVersion:
    spec = evaluation.model.bundle.spec
    candidate = _candidate(evaluation)
    tags = {
        "eusml.arm": evaluation.model.arm,
        "eusml.synthetic": str(spec.synthetic).lower(),
        "eusml.evaluation_run": evaluation.run_id,
        "eusml.weights_sha256": spec.weights_sha256,
    }
    if candidate.val_auroc_ci_low is not None and candidate.val_digest is not None:
        tags |= {
            "eusml.val_auroc_ci_low": repr(candidate.val_auroc_ci_low),
            "eusml.val_digest": candidate.val_digest,
        }
    name = registry.registered_name(spec.arch, spec.synthetic)
    description = report.evaluation_note(evaluation.metrics, synthetic=spec.synthetic)
    return registry.register(evaluation.model.model_id, name, tags, description)


def _evidence_of(champion: registry.RegisteredVersion) -> gate.Candidate:
    low = champion.tags.get("eusml.val_auroc_ci_low")
    return gate.Candidate(
        arm=champion.tags.get("eusml.arm", "?"),
        run_id=champion.tags.get("eusml.evaluation_run", "?"),
        val_auroc_ci_low=None if low is None else float(low),
        val_digest=champion.tags.get("eusml.val_digest"),
    )


def say_next_steps(promotion: Promotion) -> None:
    """The commands that a person wants now, ready to copy."""
    uri = f"models:/{promotion.registered_name}@{promotion.alias}"
    say("")
    say("Next:")
    say(f"  compare the runs    {store.ui_command()}")
    say(f"  serve the model     {store.serve_command(uri)}")
    say("Research software: no output of it is fit for diagnosis.")
