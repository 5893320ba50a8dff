"""Pictures of a network's worst errors, with what it looked at: for the report and the store's slider.

Only where pictures may be shown.
"""

from collections.abc import Mapping

import pandas as pd

from eusml.commands.reported import Reported
from eusml.data.images import encode_png
from eusml.evaluation.captions import captioned
from eusml.learning.batches import Normalisation
from eusml.learning.bundle import Bundle
from eusml.learning.explain import grad_cam, overlay
from eusml.tables import to_csv_text
from eusml.tracking import runs
from eusml.tracking.reading import FAILURES

SHOWN = 12
"""Of a partition."""
STEPS = 6
"""Of those, how many stand in the series, too: each costs 30 ms."""


def log_failures(
    run: runs.Run, bundle: Bundle, cases: Mapping[str, Reported], answers: Mapping[str, pd.DataFrame]
) -> None:
    """Log the surest errors on the first partition, each with where the network found what speaks for its answer.

    They go to a folder of the run, and the first of them to a series whose steps count them from the surest, from 0,
    where the slider begins.

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
    names = (spec.negative_class, spec.positive_class)
    files = [f"{part}_{number:02}.png" for number in range(1, len(worst) + 1)]
    found: dict[str, bytes] = {}
    for rank, (row, file) in enumerate(zip(worst.index, files, strict=True)):
        image, called = cases[part].images[row], int(worst["y_pred"][row])
        heat = grad_cam(bundle.network, image, Normalisation(spec.mean, spec.std), called)
        picture = overlay(image, heat, "SYNTHETIC" if spec.synthetic else "")
        found[f"{FAILURES}/{file}"] = encode_png(picture)
        if rank < STEPS:
            said = f"probability of {names[1]} {worst['y_score'][row]:.3f}"
            caption = f"{rank + 1}. {names[1 - called]}, called {names[called]}: {said}. Warm: where it looked."
            run.image(captioned(picture, caption, synthetic=spec.synthetic), "misclassified", rank)
    table = worst[["case_id", "y_true", "y_score"]].assign(file=files)
    run.artifacts({**found, f"{FAILURES}/{part}.csv": to_csv_text(table).encode()})
