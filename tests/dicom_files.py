"""Real DICOM files, made for the tests; the values in `SECRETS` must be found nowhere afterwards."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    UltrasoundImageStorage,
)

SECRETS = {
    "PatientName": "Mustermann^Erika",
    "PatientID": "MRN-4711-0815",
    "PatientBirthDate": "19500203",
    "StudyDate": "20240607",
    "StudyTime": "131415",
    "AccessionNumber": "ACC99887766",
    "InstitutionName": "Charite Testklinik",
    "ReferringPhysicianName": "Doktor^Eisenbart",
    "StudyInstanceUID": "1.2.826.0.1.3680043.9.7777.1",
    "SeriesInstanceUID": "1.2.826.0.1.3680043.9.7777.2",
    "StudyDescription": "EUS of the stomach, Mrs Mustermann",
    "DeviceSerialNumber": "SN-123456-X",
}
UID_ROOT = "1.2.826.0.1.3680043.9.7777.3"


def ramp(rows: int = 48, columns: int = 64) -> np.ndarray:
    """Every grey level; no two columns and no two rows are alike."""
    y, x = np.mgrid[:rows, :columns]
    return ((y * 5 + x * 3) % 256).astype(np.uint8)


def dataset(pixels: np.ndarray, *, syntax: str = ExplicitVRLittleEndian, instance: int = 1, **tags: object) -> Dataset:
    """A data set with the pixels: [rows, columns], [rows, columns, 3] or, several frames, [N, rows, columns]."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UltrasoundImageStorage
    meta.MediaStorageSOPInstanceUID = f"{UID_ROOT}.{instance}"
    meta.TransferSyntaxUID = syntax
    found = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    found.SOPClassUID, found.SOPInstanceUID = UltrasoundImageStorage, f"{UID_ROOT}.{instance}"
    for name, value in SECRETS.items():
        setattr(found, name, value)
    colour = pixels.ndim == 3 and pixels.shape[-1] == 3
    if pixels.ndim == 3 and not colour:
        found.NumberOfFrames = len(pixels)
    found.Rows, found.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    found.SamplesPerPixel = 3 if colour else 1
    found.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        found.PlanarConfiguration = 0
    found.BitsAllocated = found.BitsStored = 8 * pixels.dtype.itemsize
    found.HighBit = found.BitsStored - 1
    found.PixelRepresentation = int(pixels.dtype.kind == "i")
    if syntax == ExplicitVRBigEndian:
        pixels = pixels.astype(pixels.dtype.newbyteorder(">"))
    found.PixelData = pixels.tobytes()
    found["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    for name, value in tags.items():
        setattr(found, name, value)
    return found


def region(x0: int, y0: int, x1: int, y1: int) -> Sequence:
    """SequenceOfUltrasoundRegions with one B-mode region; the corners belong to it."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType = 1, 1
    item.RegionLocationMinX0, item.RegionLocationMinY0 = x0, y0
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = x1, y1
    return Sequence([item])


def written(found: Dataset) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    implicit = found.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    little = found.file_meta.TransferSyntaxUID != ExplicitVRBigEndian
    found.set_original_encoding(implicit, little)
    found.save_as(buffer, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    return buffer.getvalue()


def compressed(found: Dataset, frames: list[bytes], syntax: str) -> Dataset:
    """The data set with other pixel data: one codestream per frame."""
    found.file_meta.TransferSyntaxUID = syntax
    found.PixelData = encapsulate(frames)
    found["PixelData"].is_undefined_length = True
    found["PixelData"].VR = "OB"
    return found


def codestream(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    """Pixels as JPEG or as JPEG 2000 (`JPEG2000` with `no_jp2`)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg_baseline(pixels: np.ndarray, **tags: object) -> Dataset:
    """8-bit grey JPEG; with three samples, colour as a camera writes it (YBR_FULL_422)."""
    found = dataset(pixels, **tags)  # type: ignore[arg-type]
    if pixels.ndim == 3:
        found.PhotometricInterpretation = "YBR_FULL_422"
    return compressed(found, [codestream(pixels, "JPEG", quality=95)], JPEGBaseline8Bit)


def jpeg2000(pixels: np.ndarray, **tags: object) -> Dataset:
    """Lossless JPEG 2000."""
    data = codestream(pixels, "JPEG2000", no_jp2=True, irreversible=False, mct=0)
    return compressed(dataset(pixels, **tags), [data], JPEG2000Lossless)  # type: ignore[arg-type]


def rle(pixels: np.ndarray, **tags: object) -> Dataset:
    """Run-length encoded."""
    found = dataset(pixels, **tags)  # type: ignore[arg-type]
    found.compress(RLELossless, generate_instance_uid=False)
    return found


def by_gdcm(found: Dataset, syntax: str, folder: Path) -> bytes:
    """The file in a transfer syntax that GDCM writes: `JPEGLosslessProcess14_1`, `JPEGLSLossless`."""
    import gdcm

    source, target = folder / "plain.dcm", folder / "packed.dcm"
    source.write_bytes(written(found))
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(source))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return target.read_bytes()
