"""One writer at a time for an output: a lock file beside it, which the system frees when its
holder ends.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from unspan.errors import OutputError

_held: dict[Path, int] = {}  # thread that holds the lock of an output of this process


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Hold the lock of an output; nothing happens where this thread holds it already.

    Raises:
        OutputError: another run is writing it, or its folder cannot be written.
    """
    target = Path(os.path.abspath(path))
    if _held.get(target) == threading.get_ident():
        yield
        return
    lock = target.with_name(f".{target.name}.lock")
    handle = _locked(lock, path)
    _held[target] = threading.get_ident()
    try:
        yield
    finally:
        del _held[target]
        with suppress(OSError):
            os.unlink(lock)  # while it is held: who waits for it looks again
        os.close(handle)


def _locked(lock: Path, path: Path) -> int:
    """The descriptor of a lock file that is held."""
    while True:
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_there(handle, lock):
                return handle
        except BlockingIOError as error:
            os.close(handle)
            raise OutputError(
                f"Another run is writing {path}. Wait for it, or choose another --out."
            ) from error
        except OSError as error:
            os.close(handle)
            raise OutputError(f"{path} cannot be locked: {error.strerror}.") from error
        os.close(handle)  # its holder took the file away meanwhile


def _is_there(handle: int, lock: Path) -> bool:
    """Whether the file that is locked still has its name."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(lock))
    except FileNotFoundError:
        return False
