"""The last module of an erased `SentenceTransformer`: an eraser for one entry of a dict."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from unspan.erasers import Eraser, from_buffers, kind_of

ERASED = "erased"  # name of the module in the sequence
CHILD = "unspan"  # name of the eraser inside the module that carries it
_FILE = "eraser.safetensors"


class ErasedEntry(nn.Module):
    """Gives on what it is given, with one entry erased.

    Other activations are left out: pooled tokens are the embedding as it was. The library saves
    and loads its modules by `save` and `load`, so that `SentenceTransformer.save` keeps the eraser.

    Attributes:
        key: of the entry.
    """

    def __init__(self, key: str, eraser: Eraser):
        super().__init__()
        self.key = key
        self.add_module(CHILD, eraser)

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """The inputs of the model and the erased entry `[n, d]`."""
        kept = {name: one for name, one in features.items() if not _is_activation(one)}
        return kept | {self.key: self.get_submodule(CHILD)(features[self.key])}

    def save(self, path: str, **_settings: Any) -> None:
        """Write the eraser into a folder."""
        eraser = cast(Eraser, self.get_submodule(CHILD))
        state = {name: one.contiguous() for name, one in eraser.state_dict().items()}
        save_file(state, Path(path) / _FILE, metadata={"kind": kind_of(eraser), "key": self.key})

    @classmethod
    def load(cls, input_path: str) -> ErasedEntry:
        """Read what `save` wrote."""
        with safe_open(Path(input_path) / _FILE, "pt") as file:
            said = file.metadata()
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return cls(said["key"], from_buffers(said["kind"], state))


def _is_activation(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
