"""Files that break programs: name to bytes, and whether they must be read (`OK`) or what their refusal must say.

Everything is made here, so that the repository holds no such file.
"""

import base64
import io
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image, TiffImagePlugin
from pydicom.uid import ExplicitVRBigEndian

from tests.dicom_files import dataset, jpeg_baseline, ramp, region, rle, written

OK = ""
GREY = ramp(64, 80)
RGB = np.stack([GREY, GREY, GREY], axis=2)
SLOPE = np.add.outer(3 * np.arange(48), 2 * np.arange(48)).astype(np.uint8)
# `SLOPE` as libjpeg-turbo's `cjpeg -arithmetic -quality 80` writes it: Pillow can read that coding, not write it.
ARITHMETIC_JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAYEBQYFBAYGBQYHBwYIChAKCgkJChQODwwQFxQYGBcUFhYaHSUfGhsjHBYWICwgIyYnKSopGR8t"
    "MC0oMCUoKSj/yQALCAAwADABAREA/8wABgAQEAX/2gAIAQEAAD8A/wDbOEKwF4ZvM+tTSJXIqTJT9Ptgxt7zK+0hytXxKqn2a7NJqjM6X5JQ"
    "sz3EfJfgozR/Q2jJ+Xb1K3Z/bB1pPIiGEpbBseOtxDKSBrR6MJ+e4O/kJJ3fuP/Z"
)


def saved(image: Image.Image | np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, *, bits: int = 8, colour: int = 0, data: bytes | None = None, extra: bytes = b""
) -> bytes:
    """A PNG with any header; by default its pixels are all 0, and so hardly any bytes."""
    if data is None:
        packer = zlib.compressobj(9)
        row = b"\0" * (1 + (width * bits + 7) // 8)
        data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def damaged(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


def jpeg_with(kind: int) -> bytes:
    """A JPEG whose start-of-frame says another kind of coding than it has: 0xC9 is arithmetic, 0xC3 lossless."""
    whole = saved(GREY, "JPEG")
    at = whole.index(b"\xff\xc0")
    return whole[:at] + bytes([0xFF, kind]) + whole[at + 2 :]


def jpeg_claiming(width: int, height: int) -> bytes:
    whole = saved(GREY, "JPEG")
    at = whole.index(b"\xff\xc0") + 5
    return whole[:at] + struct.pack(">HH", height, width) + whole[at + 4 :]


def tiff_bomb() -> bytes:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    return saved(Image.new("1", (30_000, 30_000)), "TIFF", compression="group4", tiffinfo=info)


def polyglot() -> bytes:
    buffer = io.BytesIO(saved(GREY, "PNG"))
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("run.sh", "echo no")
    return buffer.getvalue()


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(GREY, "JPEG", exif=exif)


def exif_bomb() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "x" * 60_000
    return saved(GREY, "JPEG", exif=exif)


def frames(kind: str, **options: object) -> bytes:
    images = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    return saved(images[0], kind, save_all=True, append_images=images[1:], **options)


def inflated_text() -> bytes:
    """A compressed text chunk of 100 MB in 100 KB."""
    packer = zlib.compressobj(9)
    text = b"".join(packer.compress(b"\0" * 1_000_000) for _ in range(100)) + packer.flush()
    return png(64, 64, extra=chunk(b"zTXt", b"key\0\0" + text))


def icc(size: int) -> bytes:
    return saved(GREY, "PNG", icc_profile=b"\0" * size)


def hostile_files() -> dict[str, tuple[bytes, str]]:
    """Name to bytes, and to `OK` or a piece of the message that must refuse it."""
    sixteen = (GREY.astype(np.uint16) * 257).astype(np.uint16)
    ten_frames = dataset(np.stack([GREY] * 10))
    return {
        # too much in too little
        "bomb_9000.png": (png(9000, 9000, bits=1), "9000 x 9000 pixels"),
        "bomb_grey_9000.png": (png(9000, 9000), "9000 x 9000 pixels"),
        "header_60000.png": (png(60_000, 60_000, data=b""), "far too many pixels"),
        "header_60000.jpg": (jpeg_claiming(60_000, 60_000), "far too many pixels"),
        "bomb.tif": (tiff_bomb(), "far too many pixels"),
        "zero.png": (png(0, 10, data=b""), "damaged|none of|0 x 10"),
        "bomb_text.png": (inflated_text(), "damaged"),
        "large_but_allowed.png": (png(5000, 5000), OK),
        "large_rgba.png": (saved(Image.new("RGBA", (4900, 4900), (9, 9, 9, 128)), "PNG", compress_level=1), OK),
        "large_wide.png": (saved(np.zeros((4900, 4900), np.uint16), "PNG", compress_level=1), OK),
        # cut, damaged, or something else
        "empty.png": (b"", "none of PNG"),
        "cut.png": (saved(GREY, "PNG")[:200], "damaged"),
        "cut.jpg": (saved(GREY, "JPEG")[:400], "damaged"),
        "cut.webp": (saved(GREY, "WEBP")[:60], "damaged|none of"),
        "cut.tif": (saved(GREY, "TIFF")[:120], "damaged|none of"),
        "bad_crc.png": (damaged(saved(GREY, "PNG"), 30), "damaged|none of"),
        "bad_data.png": (damaged(saved(GREY, "PNG"), 80), "damaged"),
        "text.png": (b"<html><body>404</body></html>", "none of PNG"),
        "svg.png": (b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', "none of PNG"),
        "postscript.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "none of PNG"),
        "pdf.png": (b"%PDF-1.4\n%%EOF", "none of PNG"),
        "gif.png": (saved(GREY, "GIF"), "none of PNG"),
        "jpeg_named.png": (saved(GREY, "JPEG"), OK),
        "polyglot.png": (polyglot(), OK),
        # several pictures in one
        "animated.png": (frames("PNG"), "2 frames"),
        "animated.webp": (frames("WEBP"), "2 frames"),
        "pages.tif": (frames("TIFF"), "2 frames"),
        # odd pixels
        "cmyk.jpg": (saved(Image.fromarray(RGB).convert("CMYK"), "JPEG"), OK),
        "cmyk.tif": (saved(Image.fromarray(RGB).convert("CMYK"), "TIFF"), OK),
        "palette.png": (saved(Image.fromarray(RGB).convert("P"), "PNG"), OK),
        "alpha.png": (saved(Image.fromarray(RGB).convert("RGBA"), "PNG"), OK),
        "one_bit.png": (saved(Image.fromarray(GREY).convert("1"), "PNG"), OK),
        "sixteen.png": (saved(sixteen, "PNG"), OK),
        "sixteen.tif": (saved(sixteen, "TIFF"), OK),
        "float.tif": (saved(GREY.astype(np.float32), "TIFF"), "floating-point"),
        "lab.tif": (saved(Image.fromarray(RGB).convert("LAB"), "TIFF"), "damaged|" + OK),
        "arithmetic.jpg": (ARITHMETIC_JPEG, OK),
        "arithmetic_by_name.jpg": (jpeg_with(0xC9), OK + "|damaged"),
        "lossless.jpg": (jpeg_with(0xC3), "damaged"),
        "progressive.jpg": (saved(GREY, "JPEG", progressive=True), OK),
        "line.png": (saved(GREY[:1], "PNG"), "80 x 1 pixels"),
        "column.png": (saved(np.ascontiguousarray(GREY[:, :1]), "PNG"), "1 x 64 pixels"),
        "pixel.png": (saved(GREY[:1, :1], "PNG"), "1 x 1 pixels"),
        # odd metadata
        "rotated.jpg": (rotated(), OK),
        "exif.jpg": (exif_bomb(), OK),
        "icc.png": (icc(4_000_000), OK + "|damaged"),
        "xml.tif": (saved(GREY, "TIFF", tiffinfo={700: b"<!DOCTYPE x [<!ENTITY a 'b'>]>" * 1000}), OK),
        # DICOM
        "good.dcm": (written(dataset(GREY)), OK),
        "big_endian.dcm": (written(dataset(sixteen, syntax=ExplicitVRBigEndian)), OK),
        "cut.dcm": (written(dataset(GREY))[:-900], "damaged"),
        "no_pixels.dcm": (written(dataset(GREY))[:900], "damaged|without"),
        "claims_10000_frames.dcm": (written(dataset(GREY, NumberOfFrames=10_000)), "damaged"),
        "has_10000_frames.dcm": (written(dataset(np.zeros((10_000, 16, 16), np.uint8))), OK),
        "ten_frames.dcm": (written(ten_frames), OK),
        "huge.dcm": (written(dataset(GREY, Rows=60_000, Columns=60_000)), "60000 x 60000 pixels"),
        "rle.dcm": (written(rle(GREY)), OK),
        "rle_cut.dcm": (written(rle(GREY))[:-300], "damaged"),
        "jpeg.dcm": (written(jpeg_baseline(GREY)), OK),
        "region.dcm": (written(dataset(GREY, SequenceOfUltrasoundRegions=region(5, 5, 60, 50))), OK),
        "prefix_only.dcm": (b"\0" * 128 + b"DICM" + b"\xff" * 4000, "damaged|without"),
        # names
        "中文 图像 1.png": (saved(GREY, "PNG"), OK),
        "with space and 'quotes'.png": (saved(GREY[:, ::-1].copy(), "PNG"), OK),
        "UPPER.PNG": (saved(GREY[::-1].copy(), "PNG"), OK),
        "upper.png": (saved(255 - GREY, "PNG"), OK),
        "=cmd|'calc'!A0.png": (saved(GREY // 2, "PNG"), OK),
    }
