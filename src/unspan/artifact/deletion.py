"""`Deletion`: what an erasure gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from unspan.erasers import Eraser
from unspan.errors import InconclusiveError


def check_receipt(receipt: Mapping[str, Any]) -> None:
    """Stop where a receipt says that its result must not be used (InconclusiveError)."""
    refused = receipt.get("collateral", {}).get("refused")
    if refused is not None:
        raise InconclusiveError(refused)


@dataclass(repr=False)
class Deletion:
    """The result of an erasure.

    Attributes:
        model: same kind as the input, a separate object; that of the deletion before where nothing
            was left to erase.
        receipt: JSON-ready account of what was done.
        eraser: float64 map of all requests so far; None where a method changed the weights instead.
        key: secret of the request commitment; `save` keeps it beside the folder, not in it.
        undo: what weights lost, needed to take another request: rows of an affine layer `[k, in +
            1]`, or the head before it was folded `[C, d + 1]`; None where the eraser is a module.
        recipe: how to build the architecture again, when it is known.
        epochs: folder of the epochs of a training; not needed any more once the result is saved.
        example: two inputs, with which `save` compares what it wrote; they are not stored.
        manifest: of the folder it was read from; the receipt of a further request keeps it.
    """

    model: nn.Module
    receipt: dict[str, Any]
    eraser: Eraser | None
    key: bytes
    undo: Tensor | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    epochs: Path | None = None
    example: Any = None
    manifest: dict[str, Any] | None = None

    @property
    def warnings(self) -> list[str]:
        """What the user should know before shipping."""
        return list(self.receipt["warnings"])

    def check(self) -> None:
        """Stop where the result must not be used: `receipt["status"]` is then `inconclusive`.

        Raises:
            InconclusiveError: a class that was to be forgotten is named as before, or the samples
                to keep lost more than `max_drop`; the message names the settings to change.
        """
        check_receipt(self.receipt)

    def __repr__(self) -> str:
        """Six lines for a terminal; the key is not among them."""
        lines = [f"  {name:<8} {value}" for name, value in self._summary()]
        return "\n".join([f"Deletion: {self.receipt['status']}", *lines])

    def _repr_html_(self) -> str:
        """The same summary as a table, for notebooks."""
        rows = "".join(
            f'<tr><th style="text-align: left">{escape(name)}</th>'
            f'<td style="text-align: left">{escape(value)}</td></tr>'
            for name, value in self._summary()
        )
        return f"<p><b>Deletion:</b> {escape(self.receipt['status'])}</p><table>{rows}</table>"

    def _summary(self) -> list[tuple[str, str]]:
        request = self.receipt["request"]
        asked = ", ".join(request["selector"]) or f"{request['samples_read']} samples"
        return [
            ("model", self.receipt["model"]["class"]),
            ("request", f"{request['kind']}: {asked}"),
            ("method", self.receipt["method"]["name"]),
            ("where", self.receipt["placement"]["where"]),
            ("warnings", f"{len(self.receipt['warnings'])} (see .warnings)"),
        ]

    def save(
        self,
        path: str | Path,
        *,
        overwrite: bool = False,
        allow_identifying_projector: bool = False,
    ) -> Path:
        """Publish a folder with model.safetensors, receipt.json and a model card; see
        `unspan.artifact.save`.

        Raises:
            InconclusiveError: see `check`; nothing is written.
        """
        from unspan.artifact.write import save

        return save(
            self,
            Path(path),
            overwrite=overwrite,
            allow_identifying_projector=allow_identifying_projector,
        )
