"""Figures of pictures: as PNG alone, for there are no numbers to them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from eusml.evaluation.figures.drawing import Frame
from eusml.evaluation.figures.style import RED, WATERMARK, Canvas

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


def augmentation_panel(panel: "Mapping[str, NDArray[np.uint8]]", frame: Frame) -> bytes:
    """One image and its augmented copies, as figure 2 of the study.

    Args:
        panel: name of the operation to uint8 [S, S].
        frame: what it says beside them.

    Returns:
        A PNG file.
    """
    with Canvas("augmentation", frame, len(panel), width=2.0 * len(panel), height=2.4, watermark=False) as canvas:
        for axes, (name, image) in zip(canvas.axes, panel.items(), strict=True):
            _show(axes, image, frame)
            axes.set_title(name)
        return canvas.png()


def image_sheet(by_class: "Mapping[str, NDArray[np.uint8]]", frame: Frame) -> bytes:
    """Prepared images of each class, one row per class.

    Args:
        by_class: name of the class to uint8 [N, S, S].
        frame: what it says beside them.

    Returns:
        A PNG file.
    """
    columns, rows = max(len(images) for images in by_class.values()), len(by_class)
    size = {"width": max(1.7 * columns, 4.0), "height": 1.95 * rows}
    with Canvas("images", frame, columns, rows=rows, watermark=False, **size) as canvas:
        for axes in canvas.axes:
            axes.axis("off")
        for row, (name, images) in enumerate(by_class.items()):
            shown = canvas.axes[row * columns : (row + 1) * columns]
            for axes, image in zip(shown, images, strict=False):
                _show(axes, image, frame)
            shown[0].set_title(name, loc="left")
        return canvas.png()


def _show(axes: "Axes", image: "NDArray[np.uint8]", frame: Frame) -> None:
    """An image as it is; made-up ones are marked each, for they can be cut out of a sheet."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.axis("off")
    mark = WATERMARK if frame.synthetic else ""
    axes.text(0.03, 0.03, mark, transform=axes.transAxes, fontsize=6, color="white", va="bottom",
              bbox={"facecolor": RED, "alpha": 0.6, "linewidth": 0, "pad": 1})  # fmt: skip
