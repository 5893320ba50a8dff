"""Who was champion when: an append-only history, and the alias that follows it.

MLflow's aliases and tags keep what was written last, and it has no compare-and-set. But a run's parameter can be
written once: of two that write the same one, the store's primary key lets one through and refuses the other, in every
database and through a tracking server alike. So the history of a registered name is a run, and its entry N for alias
`champion` is the parameter `champion.N`. Who read N - 1 entries and wants to move the alias writes entry N: exactly one
can, and the others learn that what they decided on is no longer so. Nothing is held meanwhile that a dead process could
leave held.

The history decides and the alias follows: whoever finds it elsewhere, because a process died in between or because
somebody moved it by hand, puts it back. Where the store has a lock, writing and following happen under it, so that no
slow process sets the alias to what has been displaced since.

The run is named by a tag of the registered model that is made with it, in one step.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from mlflow.entities import RunStatus
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from eusml.errors import PromotionError, TrackingError
from eusml.tracking.runs import STAGE
from eusml.tracking.store import client, exclusive

HISTORY_RUN = "eusml.history_run"
"""Tag of a registered model: the run that holds its history."""
_OF = "eusml.history_of"
_ATTEMPTS, _PAUSE_S = 5, 0.2
_NOTE = (
    "Who was `champion` of `{name}` when: one parameter per entry, which MLflow lets nobody change. `python -m eusml "
    "history` prints it. Without this run no champion can be moved: do not delete it."
)


@dataclass(frozen=True)
class Entry:
    """One move of the alias."""

    number: int
    """From 1."""
    kind: str
    """`promotion` or `rollback`."""
    when: str
    """UTC, ISO 8601."""
    who: str
    before: str | None
    """The version displaced; None for the first."""
    after: str
    """The version that is champion from now on."""
    files_sha256: str
    """Digest of its files: the version's own tag could be changed since."""
    decision_sha256: str
    """Of `decision.json` in `run_id`, which says why."""
    run_id: str
    previous: str
    """SHA-256 of the entry before this one as it is stored; empty for the first."""

    @property
    def text(self) -> str:
        """As it is stored."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True)
class History:
    """All moves of one alias of one registered model, oldest first."""

    name: str
    alias: str
    run_id: str
    entries: Sequence[Entry]

    @property
    def champion(self) -> Entry | None:
        """The entry that made the champion; None before there was one."""
        return self.entries[-1] if self.entries else None

    def displaced(self) -> list[Entry]:
        """Earlier champions that `rollback` leads back through, latest last; one that was rolled back is none."""
        stack: list[Entry] = []
        for entry in self.entries:
            if entry.kind == "rollback":
                known = [place for place, earlier in enumerate(stack) if earlier.after == entry.after]
                if known:
                    stack = stack[: known[-1]]
            stack.append(entry)
        return stack[:-1]

    def rolled_back(self, version: str) -> str | None:
        """When a version was rolled back last; None where it never was, or was brought back by a rollback since."""
        undone = None
        for entry in self.entries:
            if entry.kind == "rollback" and version in (entry.before, entry.after):
                undone = entry.when if entry.before == version else None
        return undone


@dataclass(frozen=True)
class Move:
    """What to write as the next entry."""

    kind: str
    after: str
    files_sha256: str
    decision_sha256: str
    run_id: str
    who: str


def read(name: str, alias: str) -> History | None:
    """The history of an alias; None where there is no such registered model, or it has none yet.

    Raises:
        TrackingError: the history cannot be read, or is not what was written.
    """
    run_id = _history_run(name)
    return None if run_id is None else _read(name, alias, run_id)


def begin(name: str, alias: str, experiment_id: str, tags: dict[str, str], description: str) -> History:
    """The history of an alias, which is made with the registered model where there is none.

    Raises:
        PromotionError: there is a registered model of this name that eusml did not make.
        TrackingError: as `read`.
    """
    run_id = _history_run(name)
    if run_id is None:
        run_id = _begin(name, experiment_id, tags, description)
    return _read(name, alias, run_id)


def append(known: History, move: Move) -> Entry | None:
    """Write the entry after those that are known, and move the alias; None where somebody else wrote one meanwhile.

    Raises:
        TrackingError: the store failed before the entry was written.
    """
    last = known.champion
    entry = Entry(
        number=len(known.entries) + 1,
        when=datetime.now(UTC).isoformat(timespec="milliseconds"),
        before=last.after if last else None,
        previous=_sha256(last.text) if last else "",
        **asdict(move),
    )
    with exclusive():
        written = _write_once(known.run_id, _key(known.alias, entry.number), entry.text)
        _follow(known.name, known.alias, known.run_id)
    return entry if written else None


def follow(known: History) -> str | None:
    """Put the alias where the history says; returns the version that it was at, None where it was right.

    A champion that is not there any more leaves the alias alone.
    """
    if _is_followed(known):
        return None
    with exclusive():
        return _follow(known.name, known.alias, known.run_id)


def holder(name: str, alias: str) -> str | None:
    """The version that carries the alias in the registry."""
    try:
        return str(MlflowClient().get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            return None
        raise


def is_there(name: str, entry: Entry) -> bool:
    """Whether the version that an entry is about still exists."""
    try:
        client().get_model_version(name, entry.after)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    return True


def _is_followed(known: History) -> bool:
    last = known.champion
    return last is None or holder(known.name, known.alias) == last.after


def _follow(name: str, alias: str, run_id: str) -> str | None:
    """Until the history did not change while the alias was set, so that a slow process corrects itself."""
    was, failures = None, 0
    while True:
        last = _read(name, alias, run_id).champion
        if last is None or not is_there(name, last):
            return was
        found = holder(name, alias)
        if found == last.after:
            return was
        was = was or found or "none"
        try:
            client().set_registered_model_alias(name, alias, last.after)
        except MlflowException:
            # Of two that set an alias for the first time the store refuses one, which may find it right now or set it.
            failures += 1
            if failures == _ATTEMPTS:
                raise
            time.sleep(_PAUSE_S)


def _write_once(run_id: str, key: str, text: str) -> bool:
    """Whether the parameter is ours now; whatever the store said, what it holds decides."""
    failure: MlflowException | None = None
    try:
        client().log_param(run_id, key, text)
    except MlflowException as error:
        failure = error
    held = client().get_run(run_id).data.params.get(key)
    if held is None:
        raise TrackingError(f"the history in run {run_id} could not be written: {failure}") from failure
    return bool(held == text)


def _history_run(name: str) -> str | None:
    try:
        tags = client().get_registered_model(name).tags
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    found = tags.get(HISTORY_RUN)
    return None if found is None else str(found)


def _begin(name: str, experiment_id: str, tags: dict[str, str], description: str) -> str:
    made = _make_run(name, experiment_id)
    try:
        client().create_registered_model(name, tags={**tags, HISTORY_RUN: made}, description=description)
        return made
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    client().delete_run(made)  # somebody else was first
    found = _history_run(name)
    if found is None:
        raise PromotionError(
            f"the registered model {name} was not made by eusml and has no history; rename or delete it"
        )
    return found


def _make_run(name: str, experiment_id: str) -> str:
    tags = {STAGE: "history", _OF: name, MLFLOW_RUN_NOTE: _NOTE.format(name=name)}
    run_id = str(client().create_run(experiment_id, tags=tags, run_name=f"history of {name}").info.run_id)
    client().set_terminated(run_id, RunStatus.to_string(RunStatus.FINISHED))
    return run_id


def _read(name: str, alias: str, run_id: str) -> History:
    try:
        run = client().get_run(run_id)
    except MlflowException as error:
        raise TrackingError(f"the history of {name}, run {run_id}, cannot be read: {error}") from None
    if run.info.lifecycle_stage != "active":
        raise TrackingError(f"the history of {name} was deleted; restore it: mlflow runs restore --run-id {run_id}")
    if run.data.tags.get(_OF) != name:
        raise TrackingError(f"run {run_id} is not the history of {name}, as the tag {HISTORY_RUN} of that model says")
    entries: list[Entry] = []
    while (text := run.data.params.get(_key(alias, len(entries) + 1))) is not None:
        entries.append(_parse(text, entries, run_id))
    return History(name, alias, run_id, tuple(entries))


def _parse(text: str, earlier: Sequence[Entry], run_id: str) -> Entry:
    """The next entry, which must go on from the ones before it."""
    number = len(earlier) + 1
    try:
        entry = Entry(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise TrackingError(f"entry {number} of the history in run {run_id} cannot be read: {error}") from None
    if entry.text != text or entry.number != number or entry.previous != (_sha256(earlier[-1].text) if earlier else ""):
        raise TrackingError(f"entry {number} of the history in run {run_id} does not go on from the one before it")
    return entry


def _key(alias: str, number: int) -> str:
    return f"{alias}.{number:04d}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
