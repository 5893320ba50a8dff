"""What keeps an untrusted archive within bounds while it unfolds: its limits, and streams that hold to them."""

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_BLOCK_BYTES = 1 << 20
_MAX_HEADER_BYTES = 1 << 14
"""Of one tar member: tarfile reads names and attributes at once, however long a header says they are. Before Python
3.11.10 it also takes quadratic time over them (CVE-2024-6232): half a second over this much, a minute over 128 KB."""
_MAX_DIRECTORY_BYTES = 1 << 26
"""Of a zip file's directory, which zipfile reads at once."""
_MAX_XZ_MEMORY_BYTES = 1 << 27
"""For unpacking xz, whose headers may ask for gigabytes; `xz -9` needs 65 MB."""
_ZIP_ENTRY = b"PK\x01\x02"


@dataclass(frozen=True)
class Limits:
    """How much an archive may unfold to."""

    total_bytes: int = 20_000_000_000
    """All files together, unpacked."""
    ratio: int = 100
    """Unpacked to packed bytes; images hardly shrink, a thousandfold is what an archive of zeros does."""
    any_ratio_bytes: int = 50_000_000
    """Up to this much unpacked, `ratio` does not count."""
    entries: int = 200_000
    """Files and folders."""


class Refused(Exception):
    """Why an archive is not unpacked; completes the sentence that begins with its name."""


class Meter:
    """Counts the bytes that an archive unfolds to."""

    def __init__(self, packed_bytes: int, limits: Limits) -> None:
        self._packed, self._limits, self._total = packed_bytes, limits, 0

    def add(self, count: int) -> None:
        """Raise `Refused` when the archive unfolds to more than it may."""
        self._total += count
        self.check(self._total)

    def check(self, total: int) -> None:
        """The same for a total that is only claimed."""
        limits = self._limits
        if total > limits.total_bytes:
            raise Refused(f"unfolds to more than {limits.total_bytes / 1e9:g} GB; unpack it and give the folder")
        if total > max(limits.any_ratio_bytes, limits.ratio * self._packed):
            raise Refused(f"unfolds to more than {limits.ratio} times its size, which no archive of images does")


class Guarded(io.BufferedReader):
    """The archive's own file, for zipfile, which reads the whole directory at once and makes objects of it."""

    def __init__(self, path: Path, entries: int) -> None:
        super().__init__(io.FileIO(path))
        self._entries = entries

    def read(self, size: int | None = -1, /) -> bytes:
        """As any file; raises `Refused` on a directory with more entries than there may be."""
        if size is not None and size > _MAX_DIRECTORY_BYTES:
            raise too_many(self._entries)
        data = super().read(size)
        if data.count(_ZIP_ENTRY) > self._entries:
            raise too_many(self._entries)
        return data


class Unfolding:
    """What a packed stream unfolds to, counted, forwards only; all that tarfile asks of a file."""

    def __init__(self, source: IO[bytes], meter: Meter) -> None:
        self._source, self._meter, self._position = source, meter, 0
        self._header_bytes_left: int | None = None
        self.last_block = b""
        """What the last `read` returned."""

    @contextmanager
    def header(self) -> Iterator[None]:
        """While a header is read, however many parts it has."""
        self._header_bytes_left = _MAX_HEADER_BYTES
        yield
        self._header_bytes_left = None

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; fewer only at the end.

        Raises:
            Refused: a header, or the whole archive, is larger than it may be.
        """
        if self._header_bytes_left is not None:
            self._header_bytes_left -= size
            if self._header_bytes_left < 0:
                raise Refused(f"has a header of more than {_MAX_HEADER_BYTES >> 10} KB, which no file needs")
        self.last_block = self._take(size)
        return self.last_block

    def seek(self, position: int) -> None:
        """Pass over what lies before `position`."""
        if position < self._position:
            raise tarfile.ReadError("a header points back")
        while position > self._position and self._take(min(position - self._position, _BLOCK_BYTES)):
            pass

    def tell(self) -> int:
        """Bytes unfolded so far."""
        return self._position

    def drain(self) -> None:
        """Pass over the rest."""
        while self._take(_BLOCK_BYTES):
            pass

    def write_to(self, path: Path, size: int) -> None:
        """Make a file of the next `size` bytes.

        Raises:
            EOFError: there are not as many.
            Refused: the whole archive is larger than it may be.
        """
        with path.open("xb") as file:
            for start in range(0, size, _BLOCK_BYTES):
                wanted = min(size - start, _BLOCK_BYTES)
                if len(block := self.read(wanted)) < wanted:
                    raise EOFError(f"{path.name} is cut short")
                file.write(block)

    def _take(self, size: int) -> bytes:
        data = self._source.read(size)
        self._position += len(data)
        self._meter.add(len(data))
        return data


class _Xz(io.RawIOBase):
    """An xz stream within bounds: Python's own reader gives a stream as much memory as its header asks for."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._lzma = lzma.LZMADecompressor(memlimit=_MAX_XZ_MEMORY_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = b""
        while not data and not self._lzma.eof:
            packed = self._source.read(_BLOCK_BYTES) if self._lzma.needs_input else b""
            if self._lzma.needs_input and not packed:
                raise EOFError("the xz stream is cut short")
            data = self._lzma.decompress(packed, len(buffer))
        buffer[: len(data)] = data
        return len(data)


def uncompressed(file: IO[bytes], start: bytes) -> IO[bytes]:
    """What a file is under its compression (gzip, bzip2 or xz, told by its first six bytes), if it has one."""
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]  # typeshed: no IO[bytes], but reads like one
    if start.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if start.startswith(b"\xfd7zXZ\x00"):
        return io.BufferedReader(_Xz(file))
    return file


def too_many(entries: int) -> Refused:
    """To be raised on an archive with more members than there may be."""
    return Refused(f"holds more than {entries:,} files and folders")
