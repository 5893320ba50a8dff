"""Pseudonyms: the same person or file gets the same name every time, and without the key nobody can tell whose."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from eusml.errors import DataError

_KEY_BYTES = 32


def load_key(file: Path, *outside: Path) -> bytes:
    """The secret key, made when there is none yet.

    Args:
        file: where it lies; readable by its owner alone.
        outside: folders that it must not lie in, for they are what it protects.

    Raises:
        DataError: it lies in one of them, cannot be read or made, or is no key.
    """
    path = file.expanduser().resolve()
    for folder in outside:
        if path.is_relative_to(folder.expanduser().resolve()):
            raise DataError(f"data.dicom.key_file {file} lies inside {folder}; who has both can find out who is who")
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as made:
                made.write(secrets.token_hex(_KEY_BYTES) + "\n")
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise DataError(f"data.dicom.key_file {file} cannot be read or made: {error}") from None
    if len(key) != _KEY_BYTES:
        raise DataError(f"data.dicom.key_file {file} holds {len(key)} bytes, expected {_KEY_BYTES}, written in hex")
    return key


def pseudonym(key: bytes, kind: str, name: str) -> str:
    """16 hexadecimal digits for a name, by HMAC-SHA-256; another kind of name gives others (RFC 2104)."""
    return hmac.new(key, f"{kind}\0{name}".encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:16]
