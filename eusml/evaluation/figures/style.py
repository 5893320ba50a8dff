"""One style for all figures: told apart by every kind of colour vision, legible in print, and labelled.

A figure is drawn with English labels, whose widths matplotlib knows, and the labels of its SVG are translated
afterwards: letters of other scripts need no font of this machine.
"""

import io
import re
import textwrap
import warnings
from collections.abc import Iterable, Mapping
from html import escape, unescape
from itertools import cycle
from typing import TYPE_CHECKING, Any

import pandas as pd

from eusml.evaluation.captions import MARK
from eusml.evaluation.figures.drawing import Drawing, Frame, Panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#AA4499", "#7A5C00", "#56B4E9")
"""Okabe and Ito's palette; its pink and its yellow are darkened, lest they vanish in print."""
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1)))
GREY = "#595959"
RED = "#A40000"
UNDEFINED = "undefined"
WATERMARK = "SYNTHETIC"
_PNG_DPI = 150
_RC: Any = {
    "axes.facecolor": "none",  # the watermark lies behind the axes
    "figure.autolayout": False,  # the layout is ours, whatever the user's own settings ask for
    "figure.constrained_layout.use": False,
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
_PANEL_PAD_IN = 0.1
"""Beside a panel, lest the last label of its axis runs into the first of the next."""
_FOOT_PT, _FOOT_LINE_IN, _FOOT_MARGIN_IN = 8.5, 0.165, 0.06
_CHARACTER_IN = 0.068
"""Width of a character of the foot, on average, in DejaVu Sans."""
_TEXT = re.compile(r"(<text\b[^>]*>)([^<]*)(</text>)")
_IDS = re.compile(r'(\bid="|url\(#|href="#)')
_HEAD = re.compile(r"<\?xml.*?<svg ", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_SIZE = re.compile(r'<svg width="[^"]*" height="[^"]*"|<svg ')


class Canvas:
    """A figure that is being drawn; use it in a `with` block, which gives it the style.

    Below the axes stand the frame's note and the mark of made-up data, which take room of their own.
    """

    def __init__(
        self,
        name: str,
        frame: Frame,
        panels: int,
        *,
        width: float,
        height: float,
        rows: int = 1,
        watermark: bool = True,
    ) -> None:
        """An empty figure.

        Args:
            name: of its files.
            frame: what it says beside its numbers.
            panels: of each row.
            width: inches.
            height: of the axes and what belongs to them, inches.
            rows: of panels.
            watermark: whether made-up data are marked behind the axes, too; pictures would hide it.
        """
        self._name, self._frame = name, frame
        self._shape = rows, panels
        self._size = width, height
        self._watermark = WATERMARK if frame.synthetic and watermark else ""
        self.figure: Figure
        self.axes: list[Axes]

    def __enter__(self) -> "Canvas":
        import matplotlib  # late, for commands that draw nothing need not wait for it
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        self._context = matplotlib.rc_context(_RC)
        self._context.__enter__()
        width, height = self._size
        foot = [(line, GREY, "normal") for line in textwrap.wrap(self._frame.note, int(width / _CHARACTER_IN))]
        foot += [(MARK, RED, "bold")] * self._frame.synthetic
        below = len(foot) * _FOOT_LINE_IN + 2 * _FOOT_MARGIN_IN
        whole = height + below
        layout = ConstrainedLayoutEngine(rect=(0, below / whole, 1, height / whole), w_pad=_PANEL_PAD_IN)
        self.figure = Figure(figsize=(width, whole), dpi=_PNG_DPI, layout=layout)
        self.axes = [axes for row in self.figure.subplots(*self._shape, squeeze=False) for axes in row]
        for number, (text, colour, weight) in enumerate(foot):
            y = (below - _FOOT_MARGIN_IN - number * _FOOT_LINE_IN) / whole
            self.figure.text(0.5, y, text, ha="center", va="top", fontsize=_FOOT_PT, color=colour, fontweight=weight)
        self.figure.text(
            0.5, 0.5, self._watermark, fontsize=44, color=RED, alpha=0.07, ha="center", va="center", rotation=25,
            fontweight="bold", zorder=-1,
        )  # fmt: skip
        return self

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)

    def drawing(self, data: pd.DataFrame) -> Drawing:
        """The figure as files.

        Args:
            data: the numbers that were drawn.
        """
        # Without the date, so that equal figures are equal files.
        svg = self._saved(format="svg", metadata={"Date": None, "Creator": None}).decode()
        return Drawing(self._name, _inline(svg, self._name, self._frame.labels), self.png(), data)

    def png(self) -> bytes:
        """The figure as pixels."""
        return self._saved(format="png", metadata={"Software": ""})

    def _saved(self, **how: Any) -> bytes:
        """The figure as a file, laid out once: all are to show the same."""
        file = io.BytesIO()
        with warnings.catch_warnings():
            # A class may be called in letters that the font lacks: the SVG has them, and the reader's font.
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            if (layout := self.figure.get_layout_engine()) is not None:
                layout.execute(self.figure)
                # Not "none", which leaves one that does nothing: `savefig` draws all twice wherever there is one.
                self.figure.set_layout_engine(None)
            self.figure.savefig(file, **how)
        return file.getvalue()


def styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour, dash and marker of each network, the same in all figures."""
    rows = zip(dict.fromkeys(names), cycle(COLOURS), cycle(DASHES), cycle(MARKERS), strict=False)
    return {name: {"color": colour, "linestyle": dash, "marker": marker} for name, colour, dash, marker in rows}


def styles_of(panels: Panels) -> dict[str, dict[str, Any]]:
    """The same of the networks of all panels."""
    return styles(arm for tables in panels.values() for arm in tables)


def line(style: Mapping[str, Any]) -> dict[str, Any]:
    """Of a style what a curve without markers takes."""
    return {"color": style["color"], "linestyle": style["linestyle"]}


def band(axes: "Axes", table: pd.DataFrame, x: str, y: str, label: str, style: Mapping[str, Any]) -> None:
    """A curve and the band around it: columns `x`, `y`, `y_low` and `y_high`."""
    low, high = table[f"{y}_low"], table[f"{y}_high"]
    axes.fill_between(table[x], low, high, color=style["color"], alpha=0.15, linewidth=0)
    axes.plot(table[x], table[y], label=label, **line(style))


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
