"""DICOM's stored values as the grey levels that a viewer shows (PS3.3 C.7.6.3, C.11)."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

_ROWS_AT_ONCE = 256


def shown(pixels: "NDArray[Any]", dataset: "Dataset") -> "NDArray[np.uint8]":
    """Grey levels of one frame, uint8 [rows, columns]: modality, window, inversion, palette, luma.

    Args:
        pixels: stored values, [rows, columns] or [rows, columns, 3].
        dataset: the tags that say what they mean.

    Raises:
        ValueError: they mean nothing that can be shown.
    """
    from PIL import Image
    from pydicom.pixels.processing import apply_color_lut

    kind = str(dataset.PhotometricInterpretation)
    if pixels.dtype.kind not in "iub":
        raise ValueError(f"pixels of kind {pixels.dtype} have no defined black and white")
    if kind == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
        bits = 8 * pixels.dtype.itemsize
    else:
        bits = int(dataset.BitsStored)
    if pixels.ndim == 3:
        if pixels.shape[2] != 3 or kind.startswith("MONOCHROME"):
            raise ValueError(f"{pixels.shape[2]} samples per pixel cannot be {kind}")
        colour = (pixels >> (bits - 8)).astype(np.uint8) if bits > 8 else pixels.astype(np.uint8)
        return np.asarray(Image.fromarray(colour).convert("L"), dtype=np.uint8)
    if not kind.startswith("MONOCHROME"):
        raise ValueError(f"one sample per pixel cannot be {kind}")
    return _grey(pixels, bits, dataset, inverted=kind == "MONOCHROME1")


def _grey(pixels: "NDArray[Any]", bits: int, dataset: "Dataset", *, inverted: bool) -> "NDArray[np.uint8]":
    """Look every stored value up in a table: 65,536 entries at most, where the picture has millions."""
    if not 1 <= bits <= 16:
        raise ValueError(f"{bits} bits a pixel")
    signed = pixels.dtype.kind == "i"
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    table = _window(np.arange(low, high + 1), dataset)
    if inverted:
        table = 255 - table
    result = np.empty(pixels.shape, np.uint8)
    for start in range(0, len(pixels), _ROWS_AT_ONCE):
        # pydicom has cleared the unused high bits, which once held overlays.
        result[start : start + _ROWS_AT_ONCE] = table[pixels[start : start + _ROWS_AT_ONCE].astype(np.int64) - low]
    return result


def _window(stored: "NDArray[np.int64]", dataset: "Dataset") -> "NDArray[np.uint8]":
    """Stored values to 0-255 (PS3.3 C.11.1 and C.11.2)."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    levels = np.asarray(apply_modality_lut(stored.astype(np.int32 if stored.min() < 0 else np.uint16), dataset))
    low, high = float(levels.min()), float(levels.max())
    if "WindowCenter" in dataset or "VOILUTSequence" in dataset:
        levels = np.asarray(apply_voi_lut(levels, dataset, index=0))
        low, high = _window_ends(dataset)
    levels = levels.astype(np.float64)
    if not np.isfinite(levels).all():
        raise ValueError("its grey scale is not finite")
    scaled = (levels - low) / (high - low) if high > low else np.zeros_like(levels)
    return np.asarray(np.rint(np.clip(scaled, 0.0, 1.0) * 255), dtype=np.uint8)


def _window_ends(dataset: "Dataset") -> tuple[float, float]:
    """What the window makes of the darkest and of the brightest there could be: its black and its white."""
    from pydicom.pixels.processing import apply_windowing

    if "VOILUTSequence" in dataset:
        return 0.0, float((1 << int(dataset.VOILUTSequence[0].LUTDescriptor[2])) - 1)
    low, high = np.asarray(apply_windowing(np.array([-1e9, 1e9]), dataset, index=0)).tolist()
    return float(low), float(high)
