"""DICOM: one frame of a file as a viewer would show it, and the little that may be known about it.

pydicom reads, GDCM and Pillow unpack compressed frames. Only the chosen frame is ever in memory.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from eusml.data.boxes import Box
from eusml.data.dicom_grey import shown
from eusml.errors import DataError, UnreadError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

Frame = Literal["first", "middle", "last"] | int

MAX_FRAMES = 100_000
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_TISSUE = 1
"""Region data type of a B-mode picture (PS3.3 C.8.5.5.1.3)."""
_FLAT = 1
"""Region spatial format of a two-dimensional picture."""
_EXPLICIT_HEADER_BYTES = 12
"""Tag, VR, two reserved bytes and length of an encapsulated pixel data element."""


@dataclass(frozen=True)
class DicomHeader:
    """What stands in a file beside its pixels, of that which this program uses."""

    rows: int
    columns: int
    frames: int
    region: Box | None
    """x, y, width, height of the largest B-mode region, pixels; None where the file names none."""
    burned_in: str
    """BurnedInAnnotation: YES, NO or empty."""
    patient: str
    """PatientID with its issuer, empty where there is none. Identifies a person: never write it anywhere."""
    study: str
    """StudyInstanceUID. Identifies a person to who knows the archive: never write it anywhere."""
    instance: str
    """SOPInstanceUID. Like `study`."""
    tags: dict[str, str]
    """The tags that were asked for, as text; an absent one is left out."""


def is_dicom(data: bytes) -> bool:
    """Whether the first bytes of a file are those of DICOM: 128 of anything, then DICM."""
    return data[128:132] == b"DICM"


def read_header(file: BinaryIO, name: str, tags: tuple[str, ...] = ()) -> DicomHeader:
    """Everything but the pixels.

    Args:
        file: the file, open for reading bytes and seeking.
        name: what to call it in messages, none of which quotes a value of the file.
        tags: keywords to bring along in `tags`.

    Raises:
        DataError: no DICOM, damaged, or without pixels.
    """
    with _only_our_errors(name):
        return _header(_dataset(file, name), name, tags)


def read_frame(
    file: BinaryIO, name: str, frame: Frame = "middle", *, max_pixels: int
) -> "tuple[NDArray[np.uint8], DicomHeader]":
    """One frame in grey, uint8 [rows, columns], and the header.

    Grey levels go through the file's modality transformation and its first window (VOI) where it has one, through
    the full range of its stored bits where it has none; MONOCHROME1 is inverted; colour becomes luma.

    Args:
        file: the file, open for reading bytes and seeking.
        name: what to call it in messages.
        frame: which frame; a number counts from 0.
        max_pixels: larger frames are refused before anything is unpacked.

    Raises:
        DataError: no DICOM, damaged, cut short, without pixels, too large, or of a kind that cannot be shown.
    """
    with _only_our_errors(name):
        dataset = _dataset(file, name)
        header = _header(dataset, name, ())
        if header.rows * header.columns > max_pixels:
            raise DataError(
                f"image {name} has {header.columns} x {header.rows} pixels; at most {max_pixels // 1_000_000} million"
            )
        index = _index(frame, header.frames, name)
        if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            _check_codestream(file, index, header, name)
        return shown(_pixels(file, index, dataset), dataset), header


def _dataset(file: BinaryIO, name: str) -> "Dataset":
    """The file up to its pixels; afterwards `file` stands where they begin."""
    import pydicom

    file.seek(0)
    start = file.read(2048)
    if not is_dicom(start):
        raise DataError(f"image {name} is no DICOM file: DICM does not stand at byte 128")
    if _DEFLATED in start:
        # pydicom would inflate all of it at once, whatever that comes to.
        raise DataError(f"image {name} is deflated DICOM, which is not read; save it uncompressed or as JPEG 2000")
    file.seek(0)
    dataset = pydicom.dcmread(file, stop_before_pixels=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        raise DataError(f"image {name} is DICOM without a transfer syntax")
    return dataset


def _header(dataset: "Dataset", name: str, tags: tuple[str, ...]) -> DicomHeader:
    if "Rows" not in dataset or "Columns" not in dataset:
        raise DataError(f"image {name} is DICOM without pixels")
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    frames = int(dataset.get("NumberOfFrames", None) or 1)
    if min(rows, columns, frames) < 1 or frames > MAX_FRAMES:
        raise DataError(f"image {name} says it has {frames} frames of {columns} x {rows} pixels")
    issuer, patient = _text(dataset, "IssuerOfPatientID"), _text(dataset, "PatientID")
    return DicomHeader(
        rows=rows,
        columns=columns,
        frames=frames,
        region=_region(dataset, rows, columns),
        burned_in=_text(dataset, "BurnedInAnnotation").upper(),
        patient=f"{issuer}\\{patient}" if patient else "",
        study=_text(dataset, "StudyInstanceUID"),
        instance=_text(dataset, "SOPInstanceUID"),
        tags={tag: _text(dataset, tag) for tag in tags if _text(dataset, tag)},
    )


def _text(dataset: "Dataset", tag: str) -> str:
    value = dataset.get(tag)
    return "" if value is None else str(value).strip().strip("\0")


def _region(dataset: "Dataset", rows: int, columns: int) -> Box | None:
    """The largest two-dimensional B-mode region, cut to the picture; its last row and column belong to it."""
    boxes: list[Box] = []
    for item in dataset.get("SequenceOfUltrasoundRegions") or ():
        if item.get("RegionSpatialFormat", _FLAT) != _FLAT or item.get("RegionDataType", _TISSUE) != _TISSUE:
            continue
        corners = [item.get(f"RegionLocation{corner}") for corner in ("MinX0", "MinY0", "MaxX1", "MaxY1")]
        if any(corner is None for corner in corners):
            continue
        left, top = max(int(corners[0]), 0), max(int(corners[1]), 0)
        right, bottom = min(int(corners[2]) + 1, columns), min(int(corners[3]) + 1, rows)
        if right > left and bottom > top:
            boxes.append((left, top, right - left, bottom - top))
    return max(boxes, key=lambda box: box[2] * box[3], default=None)


def _index(frame: Frame, frames: int, name: str) -> int:
    if isinstance(frame, int):
        if frame >= frames:
            raise DataError(f"image {name} has {frames} frames, so there is no frame {frame}; they count from 0")
        return frame
    return {"first": 0, "middle": frames // 2, "last": frames - 1}[frame]


def _check_codestream(file: BinaryIO, index: int, header: DicomHeader, name: str) -> None:
    """The compressed picture must have the size that the header claims: decoders believe the picture.

    `file` stands where the pixel data element begins.
    """
    from pydicom.encaps import get_frame

    file.read(_EXPLICIT_HEADER_BYTES)
    size = _codestream_size(get_frame(file, index, number_of_frames=header.frames))
    if size is not None and size != (header.columns, header.rows):
        raise DataError(
            f"image {name} says it has {header.columns} x {header.rows} pixels, but its compressed frame has "
            f"{size[0]} x {size[1]}"
        )


def _codestream_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG, JPEG-LS or JPEG 2000 codestream; None for what is none of them, such as RLE."""
    if data[:4] == b"\xff\x4f\xff\x51":  # JPEG 2000: SIZ follows at once
        x1, y1, x0, y0 = (int.from_bytes(data[at : at + 4], "big") for at in (8, 12, 16, 20))
        return x1 - x0, y1 - y0
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        # Start of frame: SOF0-SOF15 but for the tables DHT, JPG and DAC that lie between; SOF55 is JPEG-LS.
        if (0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}) or marker == 0xF7:
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0, 0  # a JPEG that never says its size is refused by the comparison


def _pixels(file: BinaryIO, index: int, dataset: "Dataset") -> "NDArray[Any]":
    from pydicom.pixels.utils import pixel_array
    from pydicom.uid import JPEGBaseline8Bit

    file.seek(0)
    # GDCM takes a JPEG that is cut short for a whole one and shows grey where it ends; Pillow refuses it.
    plugin = "pillow" if dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit else ""
    pixels: NDArray[Any] = pixel_array(file, index=index, decoding_plugin=plugin)
    return pixels


@contextmanager
def _only_our_errors(name: str) -> Iterator[None]:
    """Whatever a damaged file makes the libraries raise, warn of or log becomes one `DataError`.

    The message gives the kind of the error only where its text could quote the file, whose values name people.
    """
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except DataError:
        raise
    except MemoryError:
        raise UnreadError(f"image {name} cannot be read: it asks for more memory than there is") from None
    except Exception as error:
        raise DataError(f"image {name} is damaged DICOM ({type(error).__name__})") from None
    finally:
        logger.setLevel(level)
