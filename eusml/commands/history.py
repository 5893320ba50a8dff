"""Entry point `history`: who was champion when, and by which decision."""

from eusml.commands.terminal import say
from eusml.config import Config
from eusml.errors import TrackingError
from eusml.tracking import history, registry, runs, store


def run(config: Config) -> None:
    """Print the history of the champion of `promote.arch`; nothing is changed, or recorded but by `mlflow run`.

    Raises:
        TrackingError: there is no such registered model, or its history cannot be read.
    """
    store.connect()
    runs.name_given_run(f"{config.name}: history", {"eusml.entry_point": "history", runs.STAGE: "history"})
    name, alias = registered_model(config), config.promote.alias
    known = history.read(name, alias)
    if known is None:
        raise TrackingError(
            f"the registry has no {name} with a history; `promote` makes it, and promote.arch and data.source say "
            "which model is meant"
        )
    for line in lines(known):
        say(line)
    found = history.holder(name, alias)
    if known.champion is not None and found != known.champion.after:
        say(f"alias {alias} is at version {found or 'none'} now; the next promote or rollback puts it back")


def registered_model(config: Config) -> str:
    """The registered model that an experiment's candidates are versions of."""
    return registry.registered_name(config.promote.arch, config.data.source == "phantom")


def lines(known: history.History) -> list[str]:
    """A table for the terminal, oldest entry first."""
    if not known.entries:
        return [f"{known.name}: nobody has been {known.alias} yet"]
    head = ("", "when (UTC)", "who", "what", "from", "to", "decision", "in run")
    rows = [
        (
            str(entry.number),
            entry.when[:19].replace("T", " "),
            entry.who,
            entry.kind,
            entry.before or "-",
            entry.after,
            entry.decision_sha256[:12] or "-",
            entry.run_id,
        )
        for entry in known.entries
    ]
    widths = [max(len(row[place]) for row in [head, *rows]) for place in range(len(head))]
    table = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
             for row in [head, *rows]]  # fmt: skip
    return [f"{known.alias} of {known.name}, the entries of run {known.run_id}:", *table]
