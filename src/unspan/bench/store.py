"""The folder of a benchmark: results by cell, networks by content, and claims, so that nothing is computed twice.

Several processes, on one machine or on several that share the folder, take cells by creating a file that only one of
them can create. Its owner touches it every few seconds; a claim that nobody touched for a while is taken over.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unspan.errors import OutputError

BEAT, STALE = 5.0, 60.0  # seconds between touches, and after which an owner on another machine counts as dead
PAUSED = 3600.0  # likewise on this machine, where a process that is only paused can be seen; its number may have passed to another


class Store:
    """Cells, networks and choices of settings under one folder.

    Attributes:
        root: the folder; made when something is written.
    """

    def __init__(self, root: Path):
        self.root = root

    def path(self, kind: str, name: str, suffix: str = ".json") -> Path:
        """Where a `cell`, `network`, `choice` or `spec` of this name lies."""
        return self.root / f"{kind}s" / f"{name}{suffix}"

    def read(self, kind: str, name: str) -> dict[str, Any] | None:
        """The JSON of this name, None when it is not there."""
        try:
            found: dict[str, Any] = json.loads(self.path(kind, name).read_text("utf-8"))
            return found
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise OutputError(f"{self.path(kind, name)} is not whole JSON ({error}). Delete it; it is computed again.") from error

    def write(self, kind: str, name: str, value: dict[str, Any]) -> None:
        """Write JSON in one step.

        Raises:
            OutputError: the folder cannot be written.
        """
        target = self.path(kind, name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            fresh = target.with_name(f".{target.name}.{socket.gethostname()}-{os.getpid()}")
            fresh.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")
            os.replace(fresh, target)
        except OSError as error:
            raise OutputError(f"{target} cannot be written: {error.strerror or error}. Give --out a folder with room.") from error

    @contextmanager
    def claim(self, kind: str, name: str) -> Iterator[bool]:
        """Whether this process has the work of this name to itself, until the end of the block."""
        path = self.path(kind, name, ".claim")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{path.parent} cannot be written: {error.strerror or error}. Give --out a folder with room.") from error
        if not (_create(path) or (_is_stale(path) and _take_over(path))):
            yield False
            return
        stop = threading.Event()
        threading.Thread(target=_beat, args=(path, stop), daemon=True).start()
        try:
            yield True
        finally:
            stop.set()
            path.unlink(missing_ok=True)

    def once(self, kind: str, name: str, make: Callable[[], None], wait: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """The JSON of this name; made by this process, or waited for while another one makes it.

        Args:
            kind: as in `path`.
            name: as in `path`.
            make: writes the JSON, last of all.
            wait: called every second while another process is at it.
        """
        while True:
            found = self.read(kind, name)
            if found is not None:
                return found
            with self.claim(kind, name) as mine:
                if mine and self.read(kind, name) is None:
                    make()
            if not mine:
                wait()
                time.sleep(1.0)


def _create(path: Path) -> bool:
    try:
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644), "w") as file:
            file.write(f"{socket.gethostname()} {os.getpid()}\n")
    except FileExistsError:
        return False
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}. Give --out a folder with room.") from error
    return True


def _is_stale(path: Path) -> bool:
    """Its owner is dead: not on this machine any more, or silent for too long (measured by the clock of the folder)."""
    try:
        host, _, pid = path.read_text("ascii").partition(" ")
        here = host == socket.gethostname()
        if here and pid.strip().isdigit() and not _runs(int(pid)):
            return True
        probe = path.with_name(f".now-{socket.gethostname()}-{os.getpid()}")
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink(missing_ok=True)
        return now - path.stat().st_mtime > (PAUSED if here else STALE)
    except OSError:
        return False


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _take_over(path: Path) -> bool:
    """Move a dead claim away, which only one process can, and make an own one."""
    grave = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}")
    try:
        os.rename(path, grave)
    except OSError:
        return False
    grave.unlink(missing_ok=True)
    return _create(path)


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        try:
            os.utime(path)
        except OSError:
            return
