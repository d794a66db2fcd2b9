"""Read files that somebody else may have written: regular files of a bounded size, and no links."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

from unspan.errors import UnsafeFileError

_BLOCK = 1 << 20


def check_regular(path: Path) -> os.stat_result:
    """What the system says of a file.

    Raises:
        UnsafeFileError: it is a link, a pipe, a device or a folder, or cannot be looked at.
    """
    try:
        about = os.lstat(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UnsafeFileError(f"{path} cannot be read: {reason}.") from error
    if not stat.S_ISREG(about.st_mode):
        raise UnsafeFileError(
            f"{path} is no regular file (a link, a pipe, a device or a folder). Copy the file"
            " itself there."
        )
    return about


def content_of(path: Path, most: int) -> bytes:
    """The content of a small file.

    Args:
        path: of the file.
        most: bytes that it may have.

    Raises:
        UnsafeFileError: it is no regular file, is larger, or cannot be read.
    """
    size = check_regular(path).st_size
    if size > most:
        raise UnsafeFileError(f"{path} has {size:,} bytes, and at most {most:,} are read.")
    try:
        with _opened(path) as file:
            return file.read(most)
    except OSError as error:
        raise UnsafeFileError(f"{path} cannot be read: {error.strerror}.") from error


def sha256_of(path: Path) -> tuple[str, int]:
    """Hash of a file in hexadecimal digits, and its bytes.

    Raises:
        UnsafeFileError: it is no regular file, or cannot be read.
    """
    check_regular(path)
    total, size = hashlib.sha256(), 0
    try:
        with _opened(path) as file:
            while block := file.read(_BLOCK):
                total.update(block)
                size += len(block)
    except OSError as error:
        raise UnsafeFileError(f"{path} cannot be read: {error.strerror}.") from error
    return total.hexdigest(), size


def _opened(path: Path) -> BinaryIO:
    """The file, not followed if it became a link since it was looked at."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    return os.fdopen(descriptor, "rb")
