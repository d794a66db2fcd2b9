"""Put complete folders in place of older ones in one step, or leave what was there before.

A process that is killed on the way leaves only siblings named `.NAME.tmp-TOKEN` and
`.NAME.old-TOKEN`, which the next run puts right. Writers hold the lock of the public folder.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

from unspan.artifact.layout import KEY, STATE, WEIGHTS, private_folder, private_hashes
from unspan.errors import OutputError
from unspan.system.digests import file_hash

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def beside(path: Path, kind: str) -> Path:
    """The hidden sibling of a folder where this process writes (`tmp`) or moves the old one
    (`old`).
    """
    return path.with_name(f".{path.name}.{kind}-{_token(os.getpid())}")


@cache
def _token(_pid: int) -> str:
    """A random name of this process; a fork gets its own."""
    return secrets.token_hex(8)


def publish(folders: dict[Path, Callable[[Path], None]], check: Callable[[], None]) -> None:
    """Fill a sibling of every folder and flush it to disk; then swap them in, or none of them.

    The caller holds the lock of the first folder (`system.locks.writing`).

    Args:
        folders: what fills each folder, the public one first.
        check: refuses what stands at the targets; asked right before they are replaced.

    Raises:
        OutputError: a folder cannot be written, or somebody else wrote one meanwhile.
    """
    swapped: list[Path] = []
    try:
        for path, fill in folders.items():
            fresh = beside(path, "tmp")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            fill(fresh)
            for file in [*fresh.iterdir(), fresh]:
                _flush(file)
        check()
        replaced = {path for path in folders if os.path.lexists(path)}
        # the private folder first: a public one without its state cannot go on
        for path in reversed(folders):
            _swap(path, replace=path in replaced)
            swapped.append(path)
        _flush(path.parent)
    except BaseException as error:
        for path in swapped:
            _swap_back(path)
        for path in folders:
            shutil.rmtree(beside(path, "tmp"), ignore_errors=True)
        if isinstance(error, OSError) or type(error).__name__ == "SafetensorError":
            full = isinstance(error, OSError) and error.errno in _FULL
            reason = "the disk or quota is full" if full else " ".join(str(error).split())
            raise OutputError(
                f"{next(iter(folders))} could not be written: {reason}. What was there before is"
                " unchanged."
            ) from error
        raise
    for path in reversed(folders):
        shutil.rmtree(beside(path, "tmp"), ignore_errors=True)
        shutil.rmtree(beside(path, "old"), ignore_errors=True)


def _swap(path: Path, *, replace: bool) -> None:
    """Put the fresh sibling in place of `path`; what was there takes the sibling's name.

    Without `replace`, a folder that came into being meanwhile makes the rename fail.
    """
    fresh, old = beside(path, "tmp"), beside(path, "old")
    if not replace:
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
    here = -100  # AT_FDCWD
    exchange = 2  # RENAME_EXCHANGE
    return bool(call(here, os.fsencode(a), here, os.fsencode(b), exchange) == 0)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def clean_orphans(path: Path) -> None:
    """Remove what a killed process left; bring back a folder it had moved aside.

    Called by a run that is about to write and holds the lock, never by one that was refused. A
    private folder that is whole goes only together with the public folder that it belongs to.
    """
    settle(path)
    for entry, target, kind in _orphans(path):
        if kind == "old" and not target.exists():
            os.rename(entry, target)
    left = _orphans(path)
    public = [entry for entry, target, _ in left if target == path]
    for entry, target, _ in left:
        if target != path and _is_unneeded(entry, public):
            shutil.rmtree(entry, ignore_errors=True)
    for entry in public:
        shutil.rmtree(entry, ignore_errors=True)


def _is_unneeded(secret: Path, public: list[Path]) -> bool:
    """A private folder that was never finished, or whose public folder is removed with it."""
    whole = (secret / KEY).is_file() and (secret / STATE).is_file()
    return not whole or any(belongs(secret, one) for one in public)


def settle(path: Path) -> None:
    """Make a public and a private folder a pair again, after a kill between their two renames.

    The private folder that belongs to the public one is looked for among what was left; where there
    is none, a public folder that belongs to the private one.
    """
    secret = private_folder(path)
    if belongs(secret, path):
        return
    left = [entry for entry, _, _ in _orphans(path)]
    for entry in left:
        if belongs(entry, path):
            _put(entry, secret)
            return
    for entry in left:
        if belongs(secret, entry):
            _put(entry, path)
            return


def belongs(secret: Path, public: Path) -> bool:
    """The private folder was written for the weights of the public one."""
    weights = public / WEIGHTS
    try:
        said = private_hashes(secret).get("model")
        return weights.is_file() and said == "sha256:" + file_hash(weights)
    except OSError:
        return False


def left_private(path: Path) -> list[Path]:
    """Private folders of `path` that a killed process left under a temporary name."""
    return [entry for entry, target, _ in _orphans(path) if target != path]


def left_public(path: Path) -> Path | None:
    """The folder itself, where a killed process moved it aside or did not come to put it there."""
    left = [(entry, kind) for entry, target, kind in _orphans(path) if target == path]
    secret = private_folder(path)
    for entry, kind in left:
        if kind == "old" or belongs(secret, entry):
            return entry
    return None


def _orphans(path: Path) -> list[tuple[Path, Path, str]]:
    """What other processes left beside `path`: the entry, the folder it was for, `tmp` or `old`.

    Who holds the lock of `path` knows that they are dead.
    """
    pattern = re.compile(rf"\.{re.escape(path.name)}(\.private)?\.(tmp|old)-([0-9a-f]{{16}})")
    found = []
    try:
        entries = sorted(path.parent.iterdir())
    except OSError:  # a folder that may be entered but not listed
        return []
    for entry in entries:
        match = pattern.fullmatch(entry.name)
        if match is None or match[3] == _token(os.getpid()):
            continue
        found.append((entry, path if match[1] is None else private_folder(path), match[2]))
    return found


def _put(entry: Path, target: Path) -> None:
    """Swap `entry` into the place of `target`."""
    if not target.exists():
        os.rename(entry, target)
    elif not _exchange(entry, target):
        aside = target.with_name(entry.name + "-aside")
        os.rename(target, aside)
        os.rename(entry, target)
        os.rename(aside, entry)
