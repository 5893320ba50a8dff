"""Pictures of a network's worst errors, with what it looked at: for the report, where pictures may be shown."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from eusml.commands.reported import Reported
from eusml.learning.batches import Normalisation
from eusml.learning.bundle import Bundle
from eusml.learning.explain import grad_cam, overlay_png
from eusml.tables import to_csv_text
from eusml.tracking import runs
from eusml.tracking.reading import FAILURES

SHOWN = 12
"""Of a partition."""


def log_failures(
    run: runs.Run, bundle: Bundle, cases: Mapping[str, Reported], answers: Mapping[str, pd.DataFrame]
) -> None:
    """Log the surest errors on the first partition, each with where the network found what speaks for its answer.

    Args:
        run: the evaluation's.
        bundle: the network.
        cases: partition to images.
        answers: partition to columns case_id, y_true, y_score, y_pred, in their order.
    """
    part = next(iter(cases))
    table = answers[part].reset_index(drop=True)
    wrong = table[table["y_true"] != table["y_pred"]]
    worst = wrong.iloc[(wrong["y_true"] - wrong["y_score"]).abs().argsort(kind="stable")[::-1][:SHOWN]]
    spec = bundle.spec
    files = [f"{part}_{number:02}.png" for number in range(1, len(worst) + 1)]
    # All in one call: a tracking server is asked for each.
    with TemporaryDirectory() as name:
        folder = Path(name)
        for row, called, file in zip(worst.index, worst["y_pred"], files, strict=True):
            image = cases[part].images[row]
            heat = grad_cam(bundle.network, image, Normalisation(spec.mean, spec.std), int(called))
            (folder / file).write_bytes(overlay_png(image, heat, "SYNTHETIC" if spec.synthetic else ""))
        table = worst[["case_id", "y_true", "y_score"]].assign(file=files)
        (folder / f"{part}.csv").write_text(to_csv_text(table), encoding="utf-8", newline="")
        run.files(folder, FAILURES)
