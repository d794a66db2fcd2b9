"""Where a training method puts whole epochs, so that a run that was killed goes on instead of
starting again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unspan import dist
from unspan.errors import OutputError

_WEIGHTS, _STORY = "state.safetensors", "history.json"
_EPOCH = re.compile(r"stage-\d+-epoch-\d+|\.stage-\d+-epoch-\d+\.\d+")


class Checkpoint:
    """The last whole epoch of one stage of one run, in a folder; without a folder nothing is kept.

    Attributes:
        folder: where; made when the first epoch is saved.
        key: hash of model, request and settings, later of the samples too: an epoch of another run
            is never taken up.
        resumed: epochs that were taken up.
    """

    def __init__(self, folder: Path | None, key: str):
        self.folder, self.key = folder, key
        self._stage = self.resumed = 0

    def load(
        self, model: nn.Module, optimiser: torch.optim.Optimizer, data: str
    ) -> list[dict[str, Any]]:
        """Put model and optimiser where they were, and return the epochs done; called once by each
        stage of a run.

        Args:
            model: changed in place.
            optimiser: likewise.
            data: hash of the samples of the stage.
        """
        self._stage += 1
        self.key = hashlib.sha256(f"{self.key}{data}".encode()).hexdigest()
        for place in sorted(self._kept(), key=_epoch, reverse=True):
            try:
                story = json.loads((place / _STORY).read_text("utf-8"))
                state = load_file(place / _WEIGHTS)
            except (OSError, ValueError, SafetensorError):  # a file that a full disk cut short
                continue
            if story.get("key") == self.key:
                _restore(model, optimiser, state)
                self.resumed += len(story["history"])
                return list(story["history"])
        return []

    def save(
        self, model: nn.Module, optimiser: torch.optim.Optimizer, history: list[dict[str, Any]]
    ) -> None:
        """Keep an epoch; the earlier one stays until the new one is complete.

        Raises:
            OutputError: the folder cannot be written.
        """
        if self.folder is None or dist.rank() != 0:
            return
        state = {
            f"model.{name}": tensor.detach().cpu().contiguous().clone()
            for name, tensor in model.state_dict().items()
            if isinstance(tensor, Tensor)
        }
        for number, entries in optimiser.state_dict()["state"].items():
            state |= {
                f"optimiser.{number}.{entry}": (
                    torch.as_tensor(value).detach().cpu().contiguous().clone()
                )
                for entry, value in entries.items()
                if value is not None
            }
        earlier, place = self._kept(), self.folder / f"stage-{self._stage}-epoch-{len(history)}"
        fresh = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            fresh.mkdir(parents=True, mode=0o700, exist_ok=True)
            save_file(state, fresh / _WEIGHTS)
            (fresh / _STORY).write_text(json.dumps({"key": self.key, "history": history}), "utf-8")
            shutil.rmtree(place, ignore_errors=True)
            os.rename(fresh, place)
        except OSError as error:
            raise OutputError(
                f"The epoch could not be kept in {place}: {error.strerror or error}. Free some"
                " space, or run without resume."
            ) from error
        for old in earlier:
            shutil.rmtree(old, ignore_errors=True) if old != place else None

    @staticmethod
    def remove(folder: Path) -> None:
        """Remove the epochs in a folder, and the folder when nothing else is in it."""
        for place in folder.glob("*stage-*"):
            if _EPOCH.fullmatch(place.name):
                shutil.rmtree(place, ignore_errors=True)
        with suppress(OSError):
            folder.rmdir()

    def _kept(self) -> list[Path]:
        return [] if self.folder is None else list(self.folder.glob(f"stage-{self._stage}-epoch-*"))


def kept_epochs(folder: Path) -> str | None:
    """The epochs that a run left in its folder, in words; None where there is none."""
    last: dict[int, int] = {}
    for place in folder.glob("stage-*-epoch-*"):
        _, stage, _, epoch = place.name.split("-")
        if (place / _STORY).is_file() and stage.isdecimal() and epoch.isdecimal():
            last[int(stage)] = max(last.get(int(stage), 0), int(epoch))
    if not last:
        return None
    parts = (
        f"epochs 1 to {epoch}{f' of stage {stage}' if len(last) > 1 else ''}"
        for stage, epoch in sorted(last.items())
    )
    return ", ".join(parts).capitalize()


def _epoch(place: Path) -> int:
    return int(place.name.rpartition("-")[2])


def _restore(model: nn.Module, optimiser: torch.optim.Optimizer, state: dict[str, Tensor]) -> None:
    model.load_state_dict(
        {
            name.removeprefix("model."): tensor
            for name, tensor in state.items()
            if name.startswith("model.")
        }
    )
    found = optimiser.state_dict()
    for name, tensor in state.items():
        if name.startswith("optimiser."):
            _, number, entry = name.split(".", 2)
            found["state"].setdefault(int(number), {})[entry] = tensor
    optimiser.load_state_dict(found)
