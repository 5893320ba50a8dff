import io
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from eusml.data.dicom import read_frame, read_header
from eusml.data.images import MAX_PIXELS, Preparation, prepare, read_picture
from eusml.errors import DataError
from tests.dicom_files import (
    by_gdcm,
    codestream,
    compressed,
    dataset,
    jpeg2000,
    jpeg_baseline,
    ramp,
    region,
    rle,
    written,
)

GREY = ramp()
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=2)


def shown(found: Dataset | bytes, frame: object = "middle") -> np.ndarray:
    data = found if isinstance(found, bytes) else written(found)
    return read_frame(io.BytesIO(data), "x.dcm", frame, max_pixels=MAX_PIXELS)[0]  # type: ignore[arg-type]


def luma(rgb: np.ndarray) -> np.ndarray:
    return rgb @ np.array([0.299, 0.587, 0.114])


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_every_byte_order_gives_every_pixel_back(syntax: str) -> None:
    np.testing.assert_array_equal(shown(dataset(GREY, syntax=syntax)), GREY)
    wide = GREY.astype(np.uint16) * 257
    np.testing.assert_array_equal(shown(dataset(wide, syntax=syntax)), GREY)


@pytest.mark.parametrize("make", [jpeg2000, rle])
def test_lossless_compression_gives_every_pixel_back(make: object) -> None:
    np.testing.assert_array_equal(shown(make(GREY)), GREY)  # type: ignore[operator]
    assert np.abs(shown(make(COLOUR)) - luma(COLOUR)).max() <= 1  # type: ignore[operator]


@pytest.mark.parametrize("syntax", ["JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless"])
def test_what_scanners_pack_with_is_unpacked(syntax: str, tmp_path: Path) -> None:
    np.testing.assert_array_equal(shown(by_gdcm(dataset(GREY), syntax, tmp_path)), GREY)


def test_jpeg_is_read_in_grey_and_in_colour() -> None:
    smooth = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
    assert np.abs(shown(jpeg_baseline(smooth)).astype(int) - smooth).max() <= 3
    red = np.zeros((48, 64, 3), np.uint8)
    red[:, :32, 0] = 200
    found = shown(jpeg_baseline(red))
    assert abs(int(found[24, 10]) - 60) <= 4  # 0.299 of 200
    assert found[24, 50] <= 4


def test_ybr_stored_plainly_is_turned_into_what_is_seen() -> None:
    # Full-range YBR: a pixel with neutral colour shows its first sample.
    ybr = np.stack([GREY, np.full_like(GREY, 128), np.full_like(GREY, 128)], axis=2)
    found = shown(dataset(ybr, PhotometricInterpretation="YBR_FULL"))
    assert np.abs(found.astype(int) - GREY).max() <= 1


def test_monochrome1_is_inverted() -> None:
    np.testing.assert_array_equal(shown(dataset(GREY, PhotometricInterpretation="MONOCHROME1")), 255 - GREY)


def test_palette_shows_colours_and_not_numbers() -> None:
    found = dataset((GREY % 2).astype(np.uint8), PhotometricInterpretation="PALETTE COLOR")
    for name in ("Red", "Green", "Blue"):
        setattr(found, f"{name}PaletteColorLookupTableDescriptor", [2, 0, 16])
        setattr(found, f"{name}PaletteColorLookupTableData", np.array([10 * 257, 240 * 257], np.uint16).tobytes())
    np.testing.assert_array_equal(np.unique(shown(found)), [10, 240])


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_more_than_eight_bits_use_their_own_range(bits: int) -> None:
    wide = (GREY.astype(np.uint32) * ((1 << bits) - 1) // 255).astype(np.uint16)
    found = shown(dataset(wide, BitsStored=bits, HighBit=bits - 1))
    assert np.abs(found.astype(int) - GREY).max() <= 1


def test_a_window_decides_what_is_black_and_white() -> None:
    wide = np.linspace(0, 4095, 64 * 48).astype(np.uint16).reshape(48, 64)
    found = shown(dataset(wide, BitsStored=12, HighBit=11, WindowCenter=2048, WindowWidth=1024))
    expected = np.clip((wide - (2048 - 0.5 - 511.5)) / 1023, 0, 1) * 255  # PS3.3 C.11.2.1.2
    assert np.abs(found - expected).max() <= 1
    assert found.min() == 0
    assert found.max() == 255


def test_a_window_wider_than_the_data_does_not_stretch_them() -> None:
    found = shown(dataset(GREY, WindowCenter=128, WindowWidth=512))
    assert np.abs(found - (GREY / 511.0 + 0.25) * 255).max() <= 1


def test_unused_high_bits_are_no_part_of_a_value() -> None:
    wide = GREY.astype(np.uint16) * 16
    found = shown(dataset(wide | 0xF000, BitsStored=12, HighBit=11))
    np.testing.assert_array_equal(found, shown(dataset(wide, BitsStored=12, HighBit=11)))


def test_signed_values_with_a_rescale_keep_their_order() -> None:
    signed = np.linspace(-2048, 2047, 64 * 48).astype(np.int16).reshape(48, 64)
    found = shown(dataset(signed, BitsStored=12, HighBit=11, RescaleSlope="2", RescaleIntercept="-10"))
    assert found[0, 0] == 0
    assert found[-1, -1] == 255
    assert (np.diff(found.ravel().astype(int)) >= 0).all()


FRAMES = np.stack([np.full((16, 20), level, np.uint8) for level in (10, 20, 30, 40, 50)])


@pytest.mark.parametrize(("frame", "level"), [("first", 10), ("middle", 30), ("last", 50), (3, 40)])
def test_one_frame_is_chosen(frame: object, level: int) -> None:
    assert set(np.unique(shown(dataset(FRAMES), frame))) == {level}
    packed = [codestream(picture, "JPEG2000", no_jp2=True, irreversible=False) for picture in FRAMES]
    found = compressed(dataset(FRAMES), packed, "1.2.840.10008.1.2.4.90")
    assert set(np.unique(shown(found, frame))) == {level}


def test_a_frame_that_does_not_exist_is_named() -> None:
    with pytest.raises(DataError, match=r"x\.dcm has 5 frames, so there is no frame 5"):
        shown(dataset(FRAMES), 5)


def test_the_largest_b_mode_region_is_the_picture() -> None:
    regions = region(2, 3, 11, 12)
    regions.extend(region(10, 8, 49, 39))
    doppler = region(0, 0, 63, 47)
    doppler[0].RegionDataType = 3
    regions.extend(doppler)
    data = written(dataset(GREY, SequenceOfUltrasoundRegions=regions))
    assert read_picture(data, "x").region == (10, 8, 40, 32)
    square = prepare(data, None, Preparation(32, 0.0), "x")
    np.testing.assert_array_equal(square, GREY[8:40, 14:46])
    boxed = prepare(data, (12, 10, 32, 28), Preparation(32, 0.0), "x")
    np.testing.assert_array_equal(boxed, GREY[8:40, 12:44])
    with pytest.raises(DataError, match="cut to its ultrasound region: box x=-10"):
        prepare(data, (0, 10, 32, 28), Preparation(32, 0.0), "x")


def test_a_region_that_leaves_the_frame_is_cut_to_it() -> None:
    data = written(dataset(GREY, SequenceOfUltrasoundRegions=region(10, 0, 500, 500)))
    assert read_picture(data, "x").region == (10, 0, 54, 48)


def test_only_asked_tags_come_along() -> None:
    data = written(dataset(GREY, PatientAge="045Y", PatientSex="F", BurnedInAnnotation="YES"))
    header = read_header(io.BytesIO(data), "x", ("PatientAge", "TransducerType"))
    assert header.tags == {"PatientAge": "045Y"}
    assert header.burned_in == "YES"


def bad_size() -> Dataset:
    packed = codestream(np.zeros((400, 400), np.uint8), "JPEG2000", no_jp2=True, irreversible=False)
    return compressed(dataset(GREY), [packed], "1.2.840.10008.1.2.4.90")


def without(*names: str) -> Dataset:
    found = dataset(GREY)
    for name in names:
        delattr(found, name)
    return found


def cut_jpeg() -> Dataset:
    return compressed(jpeg_baseline(GREY), [codestream(GREY, "JPEG", quality=95)[:-700]], "1.2.840.10008.1.2.4.50")


BAD = {
    "jpeg cut short": (written(cut_jpeg()), "damaged"),
    "cut short": (written(dataset(GREY))[:-500], "damaged"),
    "cut in the header": (written(dataset(GREY))[:700], "without pixels|damaged"),
    "only a header": (b"\0" * 128 + b"DICM", "transfer syntax|damaged|without"),
    "no pixels": (written(without("PixelData")), "damaged"),
    "no size": (written(without("Rows")), "without pixels"),
    "too large": (written(dataset(GREY, Rows=6000, Columns=6000)), "6000 x 6000 pixels; at most 25 million"),
    "zero rows": (written(dataset(GREY, Rows=0)), "0 pixels"),
    "ten thousand frames that are not there": (written(dataset(GREY, NumberOfFrames=10_000)), "damaged"),
    "a million frames": (written(dataset(GREY, NumberOfFrames=1_000_000)), "1000000 frames"),
    "another size inside": (written(bad_size()), "64 x 48 pixels, but its compressed frame has 400 x 400"),
    "deflated": (written(dataset(GREY)).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"), "deflated"),
    "video": (written(compressed(dataset(GREY), [b"no video"], "1.2.840.10008.1.2.4.102")), "damaged|compressed frame"),
    "odd colour": (written(dataset(GREY, PhotometricInterpretation="ARGB")), "damaged"),
    "text as a window": (written(dataset(GREY, WindowCenter="0", WindowWidth="0")), "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_shown_is_refused_by_name(name: str) -> None:
    data, message = BAD[name]
    with pytest.raises(DataError, match=message) as caught:
        read_picture(data, "folder/a.dcm")
    assert "folder/a.dcm" in str(caught.value)
    assert "Mustermann" not in str(caught.value)


@pytest.mark.parametrize("make", [dataset, jpeg2000, rle, jpeg_baseline])
def test_a_damaged_byte_gives_an_image_or_a_message_and_never_anything_else(make: object) -> None:
    whole = written(make(GREY))  # type: ignore[operator]
    for place in range(132, min(len(whole), 1500), 7):
        for value in (0x00, 0xFF):
            data = whole[:place] + bytes([value]) + whole[place + 1 :]
            try:
                assert read_picture(data, "x").grey.dtype == np.uint8
            except DataError as error:
                assert "x" in str(error)  # noqa: PT017
