"""Outputs that are being measured, on disk in a form that a killed run leaves usable."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

try:
    import fcntl
except ImportError:  # no such locks on this system: measurements start anew after a kill
    fcntl = None  # type: ignore[assignment]

BLOCK = 1024  # rows between two times that everything is put on disk
_PROGRESS, _LOCK = "progress.json", "lock"


class Partial:
    """Features and scores of one model on `n` samples, row by row.

    The folder stays when the process ends early, and the next one that measures the same goes on
    after the last whole block. While another process works in it, a folder of this process alone is
    used and removed at the end.

    Attributes:
        done: rows that are on disk or were written.
    """

    def __init__(self, target: Path, n: int):
        """Take up the folder beside `target`, or begin it.

        Args:
            target: where the finished folder goes.
            n: rows in all.
        """
        self._n, self._target = n, target
        self._folder = target.with_name(f".{target.name}.part")
        self._lock: int | None = None
        self._shared = self._locked()
        if not self._shared:
            self._folder = target.with_name(f".{target.name}.{os.getpid()}")
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(mode=0o700, parents=True)
        self.done = self._saved = 0
        self._arrays: dict[str, np.memmap] = {}
        self._take_up()

    def write(
        self,
        rows: slice,
        features: Tensor,
        scores: Tensor | None,
        labels: Tensor | None,
        gone: bool,
    ) -> None:
        """Write the outputs of some rows.

        Args:
            rows: their place; the next ones that are not done.
            features: `[n, d]`.
            scores: `[n, C]`, None for embedding models.
            labels: `[n]`, None where there are none.
            gone: whether the samples are of the request.
        """
        for name, value in (("features", features), ("logits", scores)):
            if value is not None:
                shape = (self._n, value.shape[1])
                self._array(name, np.dtype(np.float32), shape)[rows] = value.numpy()
        own = -1 if labels is None else labels.numpy()
        self._array("labels", np.dtype(np.int64), (self._n,))[rows] = own
        self._array("forget", np.dtype(bool), (self._n,))[rows] = gone
        self.done = rows.stop
        if self.done - self._saved >= BLOCK:
            self._save()

    def publish(self) -> None:
        """Everything is written: move the folder to its place.

        What tells how far the measurement came goes last, so that a kill at any point leaves a
        folder that is taken up again or one that is finished.
        """
        self._save()
        self._arrays.clear()
        (self._folder / "done.json").write_text(json.dumps({"rows": self._n}), "utf-8")
        try:
            os.rename(self._folder, self._target)
        except OSError:
            if (self._target / "done.json").is_file():  # another process was faster
                shutil.rmtree(self._folder, ignore_errors=True)
                return
            shutil.rmtree(self._target, ignore_errors=True)  # a broken folder
            os.rename(self._folder, self._target)
        for name in (_PROGRESS, _LOCK):
            (self._target / name).unlink(missing_ok=True)

    def close(self, *, keep: bool = True) -> None:
        """Let go of the files; what is not finished stays for the next process if `keep`."""
        self._arrays.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if not (keep and self._shared):
            shutil.rmtree(self._folder, ignore_errors=True)

    def _locked(self) -> bool:
        if fcntl is None:
            return False
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return False
        self._lock = handle
        return True

    def _array(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.memmap:
        if name not in self._arrays:
            path = self._folder / f"{name}.npy"
            mode = "w+" if self.done == 0 else "r+"
            self._arrays[name] = np.lib.format.open_memmap(path, mode, dtype, shape)
        return self._arrays[name]

    def _save(self) -> None:
        for array in self._arrays.values():
            array.flush()
        known = {name: list(array.shape) for name, array in self._arrays.items()}
        fresh = self._folder / f"{_PROGRESS}.new"
        fresh.write_text(json.dumps({"done": self.done, "arrays": known}), "utf-8")
        os.replace(fresh, self._folder / _PROGRESS)
        self._saved = self.done

    def _take_up(self) -> None:
        """Open what an earlier process left; begin anew where it cannot be read."""
        try:
            story = json.loads((self._folder / _PROGRESS).read_text("utf-8"))
            arrays = {
                str(name): np.lib.format.open_memmap(self._folder / f"{name}.npy", "r+")
                for name in story["arrays"]
            }
            done = int(story["done"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        whole = {"features", "labels", "forget"} <= set(arrays) and 0 < done <= self._n
        if whole and all(len(array) == self._n for array in arrays.values()):
            self._arrays, self.done, self._saved = arrays, done, done
