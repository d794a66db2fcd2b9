"""The folder of a benchmark: results by cell, networks by content, and claims, so that nothing is
computed twice.

Several processes, on one machine or on several that share the folder, take cells by creating a file
that only one of them can create. Its owner touches it every few seconds; a claim that nobody
touched for a while is taken over.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from unspan.benchmark import packed
from unspan.errors import OutputError

# what a folder of results holds
FOLDERS = ("cells", "pictures", "networks", "choices", "specs", "report", packed.FOLDER)
BEAT = 5.0  # seconds between touches
STALE = 60.0  # seconds after which an owner on another machine counts as dead
# likewise on this machine, where a process that is only paused can be seen; its number may have
# passed to another
PAUSED = 3600.0


class Store:
    """Cells, their pictures, networks and choices of settings under one folder.

    Cells, pictures and specs are also found in packed tables; a file of their own goes first.

    Attributes:
        root: the folder; made when something is written.
    """

    def __init__(self, root: Path):
        self.root = root
        self._packed: dict[str, packed.Values] | None = None

    def path(self, kind: str, name: str, suffix: str = ".json") -> Path:
        """Where a `cell`, `picture`, `network`, `choice` or `spec` of this name lies."""
        return self.root / f"{kind}s" / f"{name}{suffix}"

    def read(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return the JSON of this name, from its own file or from a packed table.

        None when it is not there or not whole (a full disk, an edit): it is made again then.

        Raises:
            DataError: a packed table that cannot be read.
        """
        try:
            found = json.loads(self.path(kind, name).read_text("utf-8"))
        except (OSError, ValueError):
            return self._from_tables(kind).get(name)
        needed = {
            "cell": ("cell", "steps"),
            "picture": ("cell", "content"),
            "network": ("history",),
            "choice": ("chosen",),
            "spec": ("rows",),
        }[kind]
        whole = isinstance(found, dict) and (
            "error" in found or all(key in found for key in needed)
        )
        return found if whole else None

    def names(self, kind: str) -> list[str]:
        """Return the names of all cells, pictures or specs of this folder, sorted."""
        files = {path.stem for path in (self.root / f"{kind}s").glob("*.json")}
        return sorted(files | set(self._from_tables(kind)))

    def pack(self) -> list[Path]:
        """Write every table with its finished cells to one file, and return these files.

        What failed, and the files of single cells and pictures, are left as they are.

        Raises:
            DataError: a packed table that cannot be read.
            OutputError: the folder cannot be written.
        """
        specs = self._whole("spec")
        cells, pictures = (
            {name: found for name, found in self._whole(kind).items() if "error" not in found}
            for kind in ("cell", "picture")
        )
        self._packed = None
        return packed.write(self.root, specs, cells, pictures)

    def _whole(self, kind: str) -> packed.Values:
        found = {}
        for name in self.names(kind):
            value = self.read(kind, name)
            if value is not None:
                found[name] = value
        return found

    def _from_tables(self, kind: str) -> packed.Values:
        """What packed tables hold of a kind by name, read once; nothing for other kinds."""
        if kind not in ("spec", "cell", "picture"):
            return {}
        if self._packed is None:
            specs, cells = packed.read(self.root)
            pictures = packed.read_pictures(self.root)
            self._packed = {"spec": specs, "cell": cells, "picture": pictures}
        return self._packed[kind]

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
            raise OutputError(
                f"{target} cannot be written: {error.strerror or error}. Give --out a folder with"
                " room."
            ) from error

    @contextmanager
    def claim(self, kind: str, name: str) -> Iterator[bool]:
        """Whether this process has the work of this name to itself, until the end of the block."""
        path = self.path(kind, name, ".claim")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{path.parent} cannot be written: {error.strerror or error}. Give --out a folder"
                " with room."
            ) from error
        mine = f"{socket.gethostname()} {os.getpid()} {secrets.token_hex(8)}\n"
        if not (_create(path, mine) or _take_over(path, mine)):
            yield False
            return
        stop = threading.Event()
        threading.Thread(target=_beat, args=(path, mine, stop), daemon=True).start()
        try:
            yield True
        finally:
            stop.set()
            if _owner(path) == mine:
                path.unlink(missing_ok=True)

    def is_claimed(self, kind: str, name: str) -> bool:
        """Whether a process is at the work of this name that still gives signs of life."""
        path = self.path(kind, name, ".claim")
        owner = _owner(path)
        return bool(owner) and not _is_stale(path, owner)

    def touched(self, kind: str, name: str) -> float | None:
        """When a claim was last touched, None when there is none."""
        try:
            return self.path(kind, name, ".claim").stat().st_mtime
        except OSError:
            return None

    def once(
        self,
        kind: str,
        name: str,
        make: Callable[[], None],
        wait: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
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


def _create(path: Path, owner: str) -> bool:
    try:
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644), "w") as file:
            file.write(owner)
    except FileExistsError:
        return False
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}. Give --out a folder with room."
        ) from error
    return True


def _owner(path: Path) -> str:
    """What stands in a claim; empty when it is gone."""
    try:
        return path.read_text("ascii")
    except (OSError, ValueError):
        return ""


def _is_stale(path: Path, owner: str) -> bool:
    """The owner is dead: gone from this machine for a few beats, or silent for too long, by the
    clock of the folder.
    """
    host, _, rest = owner.partition(" ")
    pid = rest.partition(" ")[0].strip()
    here = host == socket.gethostname()
    limit = PAUSED if here else STALE
    if here and pid.isdigit() and not _runs(int(pid)):
        limit = 3 * BEAT  # a container of the same name may hide a living one
    try:
        probe = path.with_name(f".now-{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}")
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink(missing_ok=True)
        return now - path.stat().st_mtime > limit
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


def _take_over(path: Path, mine: str) -> bool:
    """Replace a dead claim by an own one.

    Only one process can move a file away; whoever finds that it moved another claim than the dead
    one puts it back.
    """
    dead = _owner(path)
    if not dead or not _is_stale(path, dead):
        return False
    grave = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        os.rename(path, grave)
    except OSError:
        return False
    if _owner(grave) != dead:
        with suppress(OSError):
            os.link(grave, path)
        grave.unlink(missing_ok=True)
        return False
    grave.unlink(missing_ok=True)
    return _create(path, mine)


def _beat(path: Path, mine: str, stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        if _owner(path) != mine:
            return
        with suppress(OSError):
            os.utime(path)
