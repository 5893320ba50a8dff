"""How plotly behaves in the pages that this project writes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

PLOTLY_OPTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "displaylogo": False,
        # plotly offers a button that uploads the figure to its makers; results of patients stay where they are.
        "showSendToCloud": False,
        "plotlyServerURL": "",
        "modeBarButtonsToRemove": ("select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"),
    }
)
"""For `to_html(config=…)`."""
