"""Entry point `promote`: register every arm's model, and make the candidate champion if the policy allows it."""

import getpass
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass

from eusml.commands.candidate import Candidate, look_at, own_rules, register
from eusml.commands.champion import against, champion_of, follow, mark_displaced, write_on
from eusml.commands.compare import all_evaluations
from eusml.commands.data import StudyData, study_data
from eusml.commands.evaluate import Evaluation
from eusml.commands.job import Job, StageRecord, open_job
from eusml.commands.terminal import say
from eusml.config import Config
from eusml.errors import PromotionError
from eusml.evaluation import gate, rules
from eusml.evaluation.decision import Decision
from eusml.evaluation.model_card import model_page
from eusml.tracking import history, registry, runs, store, versions
from eusml.tracking.provenance import commit_is_known

_ATTEMPTS = 100
"""Each one that fails means that somebody else moved the champion meanwhile."""


@dataclass(frozen=True)
class Promotion:
    """What the stage decided, and what the registry says after it."""

    decision: Decision
    run_id: str
    """Where the decision is recorded."""
    champion: str | None
    """The version that is champion now."""

    def check(self) -> None:
        """Say to scripts, too, that the candidate was refused.

        Raises:
            PromotionError: it was.
        """
        if not self.decision.accepted:
            raise PromotionError(
                f"{self.decision.title()}: {self.decision.reason}. All rules: decision.json of run {self.run_id}"
            )


def run(config: Config) -> None:
    """Register and promote, as an MLflow run of its own.

    Raises:
        PromotionError: no arm can be a candidate, or the candidate was refused.
    """
    check_candidates(config)
    with open_job("promote", config) as job:
        study = study_data(job)
        promotion = promote(job, study, all_evaluations(job, study))
    say_next_steps(promotion)
    promotion.check()


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
    if config.promote.policy.require_git != "any" and not commit_is_known():
        say(
            "promote will refuse: the commit of this code is unknown (no git, or no repository), and "
            "promote.policy.require_git asks for it"
        )


def promote(job: Job, study: StudyData, evaluations: Sequence[Evaluation]) -> Promotion:
    """Register all arms, and make the candidate champion if every rule of the policy is met.

    Never reused: the registry may have changed since. The decision is recorded before anything moves; a refusal is no
    error here, `Promotion.check` makes it one.

    Raises:
        PromotionError: no arm of the asked architecture, or several between which nothing but the reported cases
            could decide.
    """
    began = time.perf_counter()
    manifest = study.prepared.manifest
    tags = runs.common_tags("promote", source=manifest.source, synthetic=manifest.synthetic, fingerprint="")
    if job.entry == "promote":
        job.run.tags(tags)
        return _promote(job, job.run, study, evaluations)
    with runs.child_run(job.run, "promote", tags) as run:
        result = _promote(job, run, study, evaluations)
    job.records.append(StageRecord("promote", run.run_id, False, time.perf_counter() - began))
    return result


def _promote(job: Job, run: runs.Run, study: StudyData, evaluations: Sequence[Evaluation]) -> Promotion:
    settings = job.config.promote
    choice = gate.choose([_evidence(e) for e in evaluations if e.model.spec.arch == settings.arch], settings.arm)
    arms = [look_at(evaluation) for evaluation in evaluations]
    if not settings.dry_run:
        arms = [_registered(job, run, study, arm) for arm in arms]
    (candidate,) = (arm for arm in arms if arm.evaluation.model.arm == choice.candidate.arm)
    if candidate.version is not None and not settings.dry_run:
        versions.set_alias(candidate.version, settings.challenger_alias)
    own = own_rules(job, study, candidate)
    for _ in range(_ATTEMPTS):
        known = history.read(candidate.name, settings.alias)
        champion = champion_of(known)
        decision = Decision(
            name=candidate.name,
            alias=settings.alias,
            version=candidate.version.version if candidate.version else None,
            arm=choice.candidate.arm,
            chosen=choice.reason,
            champion=champion.version.version if champion.version else None,
            part=candidate.part,
            rules=[*own, *_by_history(known, candidate), *against(job, study, candidate, champion)],
            policy=settings.policy.model_dump(mode="json"),
            synthetic=job.synthetic,
            dry_run=settings.dry_run,
        )
        run.text(decision.json(), "decision.json")
        if not decision.moves or known is None or moved(known, decision, candidate.version, run):
            if decision.moves:
                mark_displaced(champion, decision, run.run_id)
            return _recorded(run, decision, candidate)
        say("  the champion was changed by somebody else meanwhile; deciding anew")
    raise PromotionError(f"{candidate.name}: the champion was changed by others {_ATTEMPTS} times; try again later")


def _by_history(known: history.History | None, candidate: Candidate) -> list[rules.RuleResult]:
    """The rule that asks what became of the candidate before; none where it is the champion, or new."""
    version = candidate.version.version if candidate.version else None
    if version is None or (known and known.champion and known.champion.after == version):
        return []
    return [rules.not_rolled_back(version, known.rolled_back(version) if known else None)]


def _evidence(evaluation: Evaluation) -> gate.Candidate:
    val = evaluation.predictions.get("val")
    low = None if val is None else gate.lower_bound(val["y_true"].to_numpy(), val["y_score"].to_numpy())
    return gate.Candidate(evaluation.model.arm, evaluation.run_id, low, evaluation.val_cases_digest)


def _registered(job: Job, run: runs.Run, study: StudyData, arm: Candidate) -> Candidate:
    """One arm in the registry, whose history begins with it."""
    synthetic = registry.is_synthetic_name(arm.name)
    marks = {runs.SYNTHETIC: str(synthetic).lower()}
    alias, spec = job.config.promote.alias, arm.evaluation.model.spec
    description = model_page(spec.arch, spec.positive_class, spec.negative_class, alias, synthetic=synthetic)
    known = history.begin(arm.name, alias, run.experiment_id, marks, description)
    arm = register(job, run, study, arm)
    if arm.problem is not None:
        say(f"  {arm.evaluation.model.arm} is not registered: {arm.problem}")
    follow(known)
    return arm


def moved(
    known: history.History, decision: Decision, version: versions.RegisteredVersion | None, run: runs.Run
) -> bool:
    """Make a version champion by a decision; False where somebody else was first, and the decision is out of date."""
    assert version is not None
    digests = version.files_sha256, decision.digest
    move = history.Move(decision.kind, version.version, *digests, run.run_id, whoami())
    return history.append(known, move) is not None


def _recorded(run: runs.Run, decision: Decision, candidate: Candidate) -> Promotion:
    """Say and write what was decided; on the version, too, unless it is a dry run."""
    for line in decision.lines():
        say(line)
    run.note(decision.markdown())
    run.tags({"eusml.decision": decision.outcome, "eusml.decision_digest": decision.digest})
    if candidate.version is not None and not decision.dry_run:
        note = f"{decision.markdown()}\n\n{candidate.card}"
        write_on(candidate.version, decision, run.run_id, outcome=decision.outcome, description=note)
    return Promotion(decision, run.run_id, decision.version if decision.moves else decision.champion)


def whoami() -> str:
    """Whoever runs this, for the history."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may know its user by number only
        user = "unknown"
    return f"{user}@{platform.node()}"


def say_next_steps(promotion: Promotion) -> None:
    """The commands that a person wants now, ready to copy."""
    say("")
    say("Next:")
    say(f"  compare the runs    {store.ui_command()}")
    if promotion.champion is not None:
        uri = f"models:/{promotion.decision.name}@{promotion.decision.alias}"
        say(f"  serve the model     {store.serve_command(uri)}")
    say("Research software: no output of it is fit for diagnosis.")
