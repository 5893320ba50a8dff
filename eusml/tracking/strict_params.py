"""Unknown params are refused where a model is served.

MLflow drops params that a signature does not name before the model sees them, and says so in the server's log alone:
who misspells `tta` would get an answer of another kind without a word. There is no switch for it, so this listens to
that very warning, on the request's own thread, and turns it into a refusal. Where MLflow's wording has changed, nothing
is refused; a test with the real server tells.
"""

import logging
import sys
from collections.abc import Callable

_SERVER = "mlflow.pyfunc.scoring_server.app"
_LOGGER = "mlflow.models.utils"
_WARNING = "Unrecognized params"


class _RefuseUnknownParams(logging.Filter):
    def __init__(self, refuse: Callable[[], Exception]) -> None:
        super().__init__()
        self.refuse = refuse

    def filter(self, record: logging.LogRecord) -> bool:
        if record.getMessage().startswith(_WARNING):
            raise self.refuse()
        return True


def refuse_unknown_params(refuse: Callable[[], Exception]) -> None:
    """Raise what `refuse` makes, out of MLflow's check of a request's params.

    In `mlflow models serve` alone, a process that holds this one model: elsewhere others may live beside it, to whom
    this would happen, too.
    """
    if _SERVER in sys.modules:
        logging.getLogger(_LOGGER).addFilter(_RefuseUnknownParams(refuse))
