"""Put complete folders in place of older ones in one step, or leave what was there before.

A process that is killed on the way leaves only siblings named `.NAME.tmp-PID` and `.NAME.old-PID`,
which the next run puts right.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from unspan.artifact.layout import private_folder
from unspan.errors import OutputError


def beside(path: Path, kind: str) -> Path:
    """The hidden sibling of a folder where this process writes (`tmp`) or moves the old one
    (`old`).
    """
    return path.with_name(f".{path.name}.{kind}-{os.getpid()}")


def publish(folders: dict[Path, Callable[[Path], None]]) -> None:
    """Fill a sibling of every folder and flush it to disk; then swap them in, or none of them."""
    swapped: list[Path] = []
    try:
        for path, fill in folders.items():
            fresh = beside(path, "tmp")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            fill(fresh)
            for file in [*fresh.iterdir(), fresh]:
                _flush(file)
        for path in reversed(
            folders
        ):  # the private folder first: a public one without its state cannot go on
            _swap(path)
            swapped.append(path)
        _flush(path.parent)
    except BaseException as error:
        for path in swapped:
            _swap_back(path)
        for path in folders:
            shutil.rmtree(beside(path, "tmp"), ignore_errors=True)
        if isinstance(error, OSError) or type(error).__name__ == "SafetensorError":
            full = getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            reason = "the disk or quota is full" if full else " ".join(str(error).split())
            raise OutputError(
                f"{next(iter(folders))} could not be written: {reason}. What was there before is"
                " unchanged."
            ) from error
        raise
    for path in folders:
        shutil.rmtree(beside(path, "tmp"), ignore_errors=True)
        shutil.rmtree(beside(path, "old"), ignore_errors=True)


def _swap(path: Path) -> None:
    """Put the fresh sibling in place of `path`; what was there takes the sibling's name."""
    fresh, old = beside(path, "tmp"), beside(path, "old")
    if not path.exists():
        os.rename(fresh, path)
    elif not _exchange(fresh, path):
        os.rename(path, old)
        try:
            os.rename(fresh, path)
        except OSError:
            os.rename(old, path)
            raise


def _swap_back(path: Path) -> None:
    fresh, old = beside(path, "tmp"), beside(path, "old")
    if old.exists():
        shutil.rmtree(path)
        os.rename(old, path)
    elif fresh.exists():
        _exchange(fresh, path)
    else:
        shutil.rmtree(path)


def _exchange(a: Path, b: Path) -> bool:
    """Swap two folders in one step (Linux renameat2); False where the system cannot."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(call(here, os.fsencode(a), here, os.fsencode(b), exchange) == 0)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def clean_orphans(path: Path) -> None:
    """Remove what a killed process left; bring back a folder it had moved aside."""
    pattern = re.compile(rf"\.{re.escape(path.name)}(\.private)?\.(tmp|old)-(\d+)")
    for entry in path.parent.iterdir():
        match = pattern.fullmatch(entry.name)
        if match is None or _alive(int(match[3])):
            continue
        target = path if match[1] is None else private_folder(path)
        if match[2] == "old" and not target.exists():
            os.rename(entry, target)
        else:
            shutil.rmtree(entry, ignore_errors=True)


def _alive(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
