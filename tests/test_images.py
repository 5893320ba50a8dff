import contextlib
import io

import cv2
import numpy as np
import pytest
from PIL import Image

from eusml.data import images
from eusml.data.boxes import Box
from eusml.data.images import Preparation, decode, encode_png, prepare, prepare_image, read_picture
from eusml.errors import DataError
from tests.pictures import annotated, speckled

GREY = np.arange(40 * 30, dtype=np.uint32).reshape(30, 40).astype(np.uint8)


def file_of(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_give_every_pixel_back(kind: str) -> None:
    np.testing.assert_array_equal(decode(file_of(Image.fromarray(GREY), kind), "x"), GREY)


def test_jpeg_and_webp_are_read() -> None:
    for kind in ("JPEG", "WEBP"):
        smooth = cv2.GaussianBlur(GREY, (9, 9), 3)
        found = decode(file_of(Image.fromarray(smooth), kind, quality=95), "x")
        assert np.abs(found.astype(int) - smooth).mean() < 3


def test_png_metadata_is_written() -> None:
    data = encode_png(GREY, {"SYNTHETIC": "yes"})
    assert Image.open(io.BytesIO(data)).text["SYNTHETIC"] == "yes"  # type: ignore[attr-defined]
    np.testing.assert_array_equal(decode(data, "x"), GREY)


def test_colour_becomes_luma_as_opencv_has_it() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    found = decode(file_of(Image.fromarray(rgb), "PNG"), "x")
    assert np.abs(found.astype(int) - cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)).max() <= 1


def test_transparent_pixels_lie_on_black() -> None:
    rgba = np.full((10, 10, 4), 200, np.uint8)
    rgba[:5, :, 3] = 0
    rgba[5:, :, 3] = 255
    found = decode(file_of(Image.fromarray(rgba), "PNG"), "x")
    assert (found[:5] == 0).all()
    assert (found[5:] == 200).all()


def test_palette_shows_its_colours_and_not_its_numbers() -> None:
    palette = Image.fromarray(GREY % 2).convert("P")
    palette.putpalette([10, 10, 10, 240, 240, 240] + [0] * 762)
    np.testing.assert_array_equal(np.unique(decode(file_of(palette, "PNG"), "x")), [10, 240])


def test_sixteen_bits_are_scaled_and_not_saturated() -> None:
    wide = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    np.testing.assert_array_equal(decode(file_of(Image.fromarray(wide), "PNG"), "x"), np.arange(256).reshape(16, 16))


def test_a_stated_range_of_sixteen_bits_is_black_and_white() -> None:
    wide = (np.arange(256, dtype=np.uint16) * 16 + 100).reshape(16, 16)
    data = file_of(Image.fromarray(wide), "PNG")
    np.testing.assert_array_equal(
        read_picture(data, "x", grey_range=(100, 100 + 255 * 16)).grey.ravel(), np.arange(256)
    )
    clipped = read_picture(data, "x", grey_range=(1000, 2000)).grey
    assert (clipped.min(), clipped.max()) == (0, 255)
    assert prepare(data, None, Preparation(16, 0.0, grey_range=(0, 4196)), "x").max() > 240
    assert prepare(data, None, Preparation(16, 0.0), "x").max() < 20


def test_marks_are_painted_over_only_when_asked() -> None:
    plain = speckled(5) // 2
    data = encode_png(annotated(plain))
    seen = prepare(data, None, Preparation(160, 0.0), "x")
    painted = prepare(data, None, Preparation(160, 0.0, inpaint_overlays=True), "x")
    np.testing.assert_array_equal(seen, annotated(plain))
    assert (seen != painted).any()
    assert np.abs(painted.astype(int) - plain).sum() < 0.6 * np.abs(seen.astype(int) - plain).sum()


def test_colours_are_told_from_grey() -> None:
    rgb = np.full((20, 30, 3), 90, np.uint8)
    assert read_picture(file_of(Image.fromarray(rgb), "PNG"), "x").coloured is None
    rgb[4, 5] = (200, 90, 90)
    coloured = read_picture(file_of(Image.fromarray(rgb), "PNG"), "x").coloured
    assert coloured is not None
    assert np.argwhere(coloured).tolist() == [[4, 5]]


def test_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the viewer turns by 90 degrees
    assert decode(file_of(Image.fromarray(GREY), "PNG", exif=exif), "x").shape == (40, 30)


def two_frames() -> bytes:
    return file_of(Image.fromarray(GREY), "TIFF", save_all=True, append_images=[Image.fromarray(GREY)])


BAD = {
    "text": (b"hello", "none of PNG"),
    "empty": (b"", "none of PNG"),
    "cut": (file_of(Image.fromarray(np.tile(GREY, (9, 9))), "PNG")[:600], "damaged"),
    "gif": (file_of(Image.fromarray(GREY), "GIF"), "none of PNG"),
    "frames": (two_frames(), "2 frames"),
    "tiny": (file_of(Image.fromarray(GREY[:4, :4]), "PNG"), "4 x 4 pixels; at least 8"),
    "float": (file_of(Image.fromarray(GREY.astype(np.float32)), "TIFF"), "floating-point"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_sound_image_is_refused_by_name(name: str) -> None:
    data, message = BAD[name]
    with pytest.raises(DataError, match=message) as caught:
        decode(data, "folder/a.png")
    assert "folder/a.png" in str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "WEBP", "JPEG"])
def test_a_damaged_byte_gives_an_image_or_a_message_and_never_anything_else(kind: str) -> None:
    whole = file_of(Image.fromarray(GREY), kind)
    for place in range(0, min(len(whole), 400)):
        data = whole[:place] + b"\xff" + whole[place + 1 :]
        with contextlib.suppress(DataError):
            assert decode(data, "x").dtype == np.uint8


def test_a_region_too_large_to_cut_is_refused() -> None:
    line = np.zeros((10, 9000), np.uint8)
    with pytest.raises(DataError, match=r"x\.png: the region of interest with its margin is 11700 pixels wide"):
        prepare_image(line, (0, 0, 9000, 10), size_px=64, margin_frac=0.15, name="x.png")


def test_too_many_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_BYTES", 1000)
    with pytest.raises(DataError, match="image x has 1,001 bytes; at most 1,000 are read"):
        decode(bytes(1001), "x")


def test_too_large_an_image_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = file_of(Image.new("L", (6000, 5000)), "PNG")
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("was decoded"))
    with pytest.raises(DataError, match="6000 x 5000 pixels; at most 25 million"):
        decode(data, "x")


def cut(box: Box | None, size_px: int = 10, margin: float = 0.0, image: np.ndarray = GREY) -> np.ndarray:
    return prepare_image(image, box, size_px=size_px, margin_frac=margin, name="x.png")


def test_without_a_box_the_centre_is_cut() -> None:
    np.testing.assert_array_equal(cut(None, 30), GREY[:, 5:35])


def test_a_square_box_is_cut_exactly() -> None:
    np.testing.assert_array_equal(cut((3, 4, 10, 10)), GREY[4:14, 3:13])


def test_a_long_box_becomes_the_square_around_its_centre() -> None:
    np.testing.assert_array_equal(cut((10, 10, 10, 4)), GREY[7:17, 10:20])


def test_margin_is_a_fraction_of_the_longer_side() -> None:
    np.testing.assert_array_equal(cut((10, 10, 10, 10), 14, 0.2), GREY[8:22, 8:22])


def test_a_region_at_the_edge_is_moved_inside() -> None:
    np.testing.assert_array_equal(cut((0, 0, 10, 10), 14, 0.2), GREY[:14, :14])
    np.testing.assert_array_equal(cut((30, 20, 10, 10), 14, 0.2), GREY[16:, 26:])


def test_a_region_larger_than_the_image_is_filled_with_black() -> None:
    found = cut((0, 0, 40, 30), 40)
    np.testing.assert_array_equal(found[5:35], GREY)
    assert (found[:5] == 0).all()
    assert (found[35:] == 0).all()


def test_result_has_the_asked_size_and_keeps_the_mean() -> None:
    for size in (16, 64):
        found = cut(None, size)
        assert found.shape == (size, size)
        assert found.dtype == np.uint8
        assert found.mean() == pytest.approx(GREY[:, 5:35].mean(), abs=2)


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, 0, 41, 5), (36, 0, 5, 5), (0, 28, 5, 5)])
def test_a_box_that_sticks_out_is_refused(box: Box) -> None:
    with pytest.raises(DataError, match=r"x\.png: box .* inside its 40 x 30 pixels"):
        cut(box)


@pytest.mark.parametrize("box", [(3, 3, 0, 5), (3, 3, 5, -2)])
def test_an_empty_box_is_refused(box: Box) -> None:
    with pytest.raises(DataError, match=r"x\.png: box .* is empty"):
        cut(box)
