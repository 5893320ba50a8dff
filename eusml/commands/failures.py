"""Pictures of a network's worst errors, with what it looked at: for the report, where pictures may be shown."""

from collections.abc import Mapping

import pandas as pd

from eusml.commands.reported import Reported
from eusml.learning.batches import Normalisation
from eusml.learning.bundle import Bundle
from eusml.learning.explain import grad_cam, overlay_png
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
    files = []
    for number, (row, called) in enumerate(zip(worst.index, worst["y_pred"], strict=True), start=1):
        image = cases[part].images[row]
        heat = grad_cam(bundle.network, image, Normalisation(spec.mean, spec.std), int(called))
        files.append(f"{part}_{number:02}.png")
        run.binary(overlay_png(image, heat, "SYNTHETIC" if spec.synthetic else ""), f"{FAILURES}/{files[-1]}")
    run.table(worst[["case_id", "y_true", "y_score"]].assign(file=files), f"{FAILURES}/{part}.csv")
