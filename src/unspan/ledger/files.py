"""Files that only their owner may read: written whole or not at all, and overwritten when they go.

Overwriting is no guarantee: SSDs, snapshots and journals may keep what was there.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from unspan.errors import OutputError
from unspan.sealing.files import check_regular

MODE = 0o600
_BLOCK = 1 << 20


def sibling(path: Path) -> Path:
    """A new empty file beside another one, with a hidden name, for its owner alone."""
    part = path.with_name(f".{path.name[:150]}.tmp-{secrets.token_hex(8)}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, MODE)
    try:
        os.fchmod(descriptor, MODE)  # under any umask
    finally:
        os.close(descriptor)
    return part


def publish_new(path: Path, fill: Callable[[Path], None]) -> bool:
    """Put a file in its place once it is complete, unless there is one.

    Args:
        path: where it goes.
        fill: writes it, given a hidden name beside it.

    Returns:
        False where another process was first; its file stays.

    Raises:
        OutputError: it cannot be written.
    """
    return _published(path, fill, replace=False)


def publish(path: Path, content: bytes) -> None:
    """Write a file, or replace it, in one step.

    Raises:
        OutputError: it cannot be written; what was there is as it was.
    """
    _published(path, lambda part: write(part, content), replace=True)


def _published(path: Path, fill: Callable[[Path], None], *, replace: bool) -> bool:
    part = None
    try:
        part = sibling(path)
        fill(part)
        if replace:
            os.replace(part, path)
        else:
            os.link(part, path)
        flush_folder(path.parent)
    except FileExistsError:
        return False
    except OSError as error:
        raise OutputError(f"{path} could not be written: {reason(error)}.") from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
    return True


def write(path: Path, content: bytes) -> None:
    """Fill a file and flush it to disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def destroy(path: Path) -> None:
    """Overwrite a file with zeros and remove it.

    Raises:
        UnsafeFileError: it is no regular file.
        OutputError: it cannot be removed.
    """
    left = check_regular(path).st_size
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "wb") as file:
            while left > 0:
                left -= file.write(bytes(min(left, _BLOCK)))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
        flush_folder(path.parent)
    except OSError as error:
        raise OutputError(f"{path} could not be removed: {reason(error)}.") from error


def flush_folder(path: Path) -> None:
    """Flush the names in a folder to disk, where the system can."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def reason(error: OSError) -> str:
    """Why the system refused."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "the disk or quota is full"
    return error.strerror or str(error)
