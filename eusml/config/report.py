"""Settings of the report."""

from typing import Annotated, Literal

from pydantic import AfterValidator

from eusml.config.base import Section

Language = Literal["en", "zh"]


def _each_once(runs: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({run for run in runs if runs.count(run) > 1})
    if twice:
        raise ValueError(f"run {', '.join(twice)} stands more than once")
    return runs


class ReportConfig(Section):
    """What is reported, and in which language."""

    runs: Annotated[tuple[str, ...], AfterValidator(_each_once)] = ()
    """MLflow ids: one run of `main`, or evaluation runs on the same cases and, if there is one, their `compare` run.
    None means the newest finished run of `main` in the experiment. Only the entry point `report` reads it."""
    language: Language = "en"
    """`en`: English; `zh`: Chinese."""
