"""One style for all figures of the report: told apart by every kind of colour vision, legible in print, and labelled.

A figure is drawn with English labels, whose widths matplotlib knows, and the labels of its SVG are translated
afterwards: letters of other scripts need no font of this machine.
"""

import io
import re
import warnings
from collections.abc import Mapping
from html import escape, unescape
from itertools import cycle
from typing import TYPE_CHECKING, Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from eusml.evaluation.reporting.document import Drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#AA4499", "#7A5C00", "#56B4E9")
"""Okabe and Ito's palette; its pink and its yellow are darkened, lest they vanish in print."""
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1)))
GREY = "#595959"
PART_TITLES = {"test": "held-out cases", "fresh": "fresh cases", "all": "all cases, out of fold"}
"""What a panel is called; `all` stands for `test` where every case is held out once."""
MARK = "SYNTHETIC DATA - not patients"
_WATERMARK = "SYNTHETIC"
_PNG_DPI = 150
_RC: Any = {
    "axes.facecolor": "none",  # the watermark lies behind the axes
    "svg.fonttype": "none",
    "svg.hashsalt": "eusml",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "path.simplify": True,
}
_TEXT = re.compile(r"(<text\b[^>]*>)([^<]*)(</text>)")
_IDS = re.compile(r'(\bid="|url\(#|href="#)')
_HEAD = re.compile(r"<\?xml.*?<svg ", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_SIZE = re.compile(r'<svg width="[^"]*" height="[^"]*"|<svg ')


class Canvas:
    """A figure that is being drawn; use it in a `with` block, which gives it the style."""

    def __init__(self, name: str, panels: int, *, synthetic: bool, width: float, height: float, rows: int = 1) -> None:
        self._name = name
        self._context = matplotlib.rc_context(_RC)
        self._shape = rows, panels
        self._size = width, height
        self._synthetic = synthetic
        self.figure: Figure
        self.axes: list[Axes]

    def __enter__(self) -> "Canvas":
        self._context.__enter__()
        self.figure = Figure(figsize=self._size, layout="constrained")
        self.axes = [axes for row in self.figure.subplots(*self._shape, squeeze=False) for axes in row]
        if self._synthetic:
            self.figure.supxlabel(MARK, fontsize=9, color="#A40000", fontweight="bold")
            self.figure.text(
                0.5, 0.5, _WATERMARK, fontsize=44, color="#A40000", alpha=0.07, ha="center", va="center", rotation=25,
                fontweight="bold", zorder=-1,
            )  # fmt: skip
        return self

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)

    def drawing(self, data: pd.DataFrame, labels: Mapping[str, str]) -> Drawing:
        """The figure as files.

        Args:
            data: the numbers that were drawn.
            labels: English label to what stands there in the page's language.
        """
        vector, pixels = io.StringIO(), io.BytesIO()
        # Without the date, so that equal figures are equal files.
        with warnings.catch_warnings():
            # A class may be called in letters that the font lacks: the SVG has them, and the reader's font.
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            self.figure.savefig(vector, format="svg", metadata={"Date": None, "Creator": None})
            # Laid out once: both files are to show the same, and it is a third of the work.
            self.figure.set_layout_engine("none")
            self.figure.savefig(pixels, format="png", dpi=_PNG_DPI, metadata={"Software": ""})
        return Drawing(self._name, _inline(vector.getvalue(), self._name, labels), pixels.getvalue(), data)


def styles(names: "list[str]") -> dict[str, dict[str, Any]]:
    """Colour, dash and marker of each network, the same in all figures."""
    rows = zip(names, cycle(COLOURS), cycle(DASHES), cycle(MARKERS), strict=False)
    return {name: {"color": colour, "linestyle": dash, "marker": marker} for name, colour, dash, marker in rows}


def line(style: Mapping[str, Any]) -> dict[str, Any]:
    """Of a style what a curve without markers takes."""
    return {"color": style["color"], "linestyle": style["linestyle"]}


def rates(axes: "Axes", x: str, y: str) -> None:
    """Both axes from 0 to 1."""
    axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])


def _inline(svg: str, name: str, labels: Mapping[str, str]) -> str:
    """The `svg` element alone, to stand in a page beside others: identifiers of its own, no fixed size."""
    svg = _METADATA.sub("", _HEAD.sub("<svg ", svg, count=1))
    svg = _IDS.sub(rf"\g<1>{name}-", svg)
    svg = _SIZE.sub("<svg ", svg, count=1)

    def translated(found: "re.Match[str]") -> str:
        return found[1] + escape(labels.get(unescape(found[2]), unescape(found[2])), quote=False) + found[3]

    return _TEXT.sub(translated, svg).strip()
