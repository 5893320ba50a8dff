"""Entry point `predict`: a registered model's answers to a folder or a table of images.

What names or shows an image stays in the output folder; the store learns which model was asked, how many images of
which content, and what came out in total.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from eusml.commands.job import open_job
from eusml.commands.terminal import progress, say
from eusml.config import Config
from eusml.data.images import MAX_BYTES
from eusml.data.questions import Question, read_questions
from eusml.errors import DataError, TrackingError
from eusml.evaluation.contact_sheet import contact_sheet
from eusml.files import written_whole
from eusml.tables import to_csv_text
from eusml.tracking import runs
from eusml.tracking.asking import Asked
from eusml.tracking.options import Options
from eusml.tracking.versions import asked_model

_CSV, _SHEET = "predictions.csv", "contact_sheet.html"


def run(config: Config) -> None:
    """Ask about every image; one that cannot be read is a row that says why."""
    settings = config.predict
    questions = read_questions(settings.images)
    with open_job("predict", config, shared=True) as job:
        asked = asked_model(settings.model)
        job.synthetic = asked.bundle.spec.synthetic
        options = Options(settings.error_rate, settings.explain)
        found = [_answer(asked, question, options) for question in progress(questions, "predict")]
        answers = [answer for answer, _ in found]
        table = _table(questions, answers)
        _write(settings.output, table, questions, answers, f"{asked.model} version {asked.version}")
        _log(job.run, asked, table, [digest for _, digest in found])
        say(f"[predict] {_summary(table)}; {_told(table)}")
        say(f"  {settings.output / _CSV}, {settings.output / _SHEET}")
        say(f"  {asked.identity['notice']}")


def _answer(asked: Asked, question: Question, options: Options) -> tuple[dict[str, Any], str]:
    """The answer, and the SHA-256 of the file (of nothing where it cannot be read)."""
    content = b""
    try:
        if question.error is not None:
            raise DataError(question.error)
        content = _content(question.file)
        return asked.answer(content, question.box, options, question.case_id), hashlib.sha256(content).hexdigest()
    except DataError as error:
        return asked.refusal(str(error)), hashlib.sha256(content).hexdigest()


def _content(file: Path) -> bytes:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise DataError(f"the file has {file.stat().st_size:,} bytes; at most {MAX_BYTES:,} are read")
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror}") from None


def _table(questions: Sequence[Question], answers: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per image; sets and warnings as text, without the pictures."""
    rows = [
        {
            "case_id": question.case_id,
            **{name: value for name, value in answer.items() if name != "explanation"},
            "prediction_set": None if answer["prediction_set"] is None else " or ".join(answer["prediction_set"]),
            "quality": "; ".join(answer["quality"]),
        }
        for question, answer in zip(questions, answers, strict=True)
    ]
    return pd.DataFrame(rows)


def _write(
    folder: Path,
    table: pd.DataFrame,
    questions: Sequence[Question],
    answers: Sequence[Mapping[str, Any]],
    title: str,
) -> None:
    names = [question.case_id for question in questions]
    pictures = [None if one["explanation"] is None else base64.b64decode(one["explanation"]) for one in answers]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in ((_CSV, to_csv_text(table)), (_SHEET, contact_sheet(names, answers, pictures, title))):
            with written_whole(folder / name) as file:
                file.write(text.encode())
    except OSError as error:
        raise TrackingError(f"predict.output {folder} cannot be written to: {error.strerror}") from None


def _log(run: runs.Run, asked: Asked, table: pd.DataFrame, digests: Sequence[str]) -> None:
    spec = asked.bundle.spec
    run.tags(
        {
            "eusml.arch": spec.arch,
            runs.SYNTHETIC: str(spec.synthetic).lower(),
            "eusml.model": f"{asked.model}/{asked.version}",
            "eusml.weights_sha256": spec.weights_sha256,
            "eusml.inputs_digest": hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest(),
        }
    )
    answered = table[table["error"].isna()]
    counts = {
        "images": len(table),
        "answered": len(answered),
        "referred": int(answered["refer"].sum()),
        "with_warnings": int((answered["quality"] != "").sum()),
        "called_positive": int((answered["label"] == spec.positive_class).sum()),
    }
    run.metrics({f"predict/{name}": float(count) for name, count in counts.items()})
    run.note(
        f"{_summary(table)} by `{asked.model}` version {asked.version}; {_told(table)}.\n\n{asked.identity['notice']}"
    )


def _summary(table: pd.DataFrame) -> str:
    failed = int(table["error"].notna().sum())
    could_not = f", {failed} could not be read" if failed else ""
    return f"{len(table) - failed} of {len(table)} images answered{could_not}"


def _told(table: pd.DataFrame) -> str:
    answered = table[table["error"].isna()]
    return f"{int((~answered['refer'].astype(bool)).sum())} of {len(answered)} with one label that is not ruled out"
