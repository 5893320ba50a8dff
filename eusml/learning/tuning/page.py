"""A study as one page of interactive figures, to be opened anywhere."""

import html
import warnings
from collections.abc import Callable
from typing import Any

import optuna
from optuna import visualization

from eusml.learning.tuning.study import Tuning
from eusml.plotly_options import PLOTLY_OPTIONS


def study_page(tuning: Tuning, *, synthetic: bool) -> str:
    """One self-contained HTML file: history, importances, parallel coordinates, slices, timeline.

    Optuna's own figures (plotly). A figure that the trials do not suffice for is named with the reason.
    """
    study = tuning.study
    metric = tuning.config.tune.metric
    figures: dict[str, Callable[[], Any]] = {
        "History": lambda: visualization.plot_optimization_history(study, target_name=metric),
        "Importance of each setting": lambda: _importances(study, metric),
        "Parallel coordinates": lambda: visualization.plot_parallel_coordinate(study, target_name=metric),
        "Slices": lambda: visualization.plot_slice(study, target_name=metric),
        "Timeline": lambda: visualization.plot_timeline(study),
    }
    title = f"Study {tuning.name}"
    marks = " SYNTHETIC images: nothing here is about patients." if synthetic else ""
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(tuning.summary())}{marks} The figures are of the inner folds of the training "
        "partition; no reported case took part.</p>",
    ]
    script: str | bool = True  # plotly's own code, once per page
    for name, draw in figures.items():
        parts.append(f"<h2>{name}</h2>")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                figure = draw()
        except (ValueError, RuntimeError, ZeroDivisionError) as error:
            parts.append(f"<p>Not drawn: {html.escape(str(error))}</p>")
            continue
        figure.update_layout(title=None, margin={"t": 40})  # the heading says it
        parts.append(figure.to_html(config=dict(PLOTLY_OPTIONS), full_html=False, include_plotlyjs=script))
        script = False
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>body {{font-family: sans-serif}}</style>'
    return f"<!doctype html>\n<html><head>{head}</head><body>\n" + "\n".join(parts) + "\n</body></html>\n"


def _importances(study: optuna.Study, metric: str) -> Any:
    return visualization.plot_param_importances(
        study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0), target_name=metric
    )
