"""The model that a command starts from, with its preprocessing as the command line wants it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unspan.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from unspan.artifact.deletion import Deletion
    from unspan.data.preprocess import Preprocess, TextPreprocess


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What `--model` stands for.

    Attributes:
        start: what to erase from: the model, or the earlier deletion of an unspan folder.
        model: the network itself.
        recipe: how to build the architecture again.
        preprocess: what turns one image or text into an input.
        class_names: name of each output, when the source of the model has them.
        notices: what was changed or inferred on the way.
    """

    start: nn.Module | Deletion
    model: nn.Module
    recipe: dict[str, Any]
    preprocess: Preprocess | TextPreprocess
    class_names: list[str] | None = None
    notices: list[str] = field(default_factory=list)


def open_model(options: Mapping[str, Any]) -> Opened:
    """Build or read again what `--model` names.

    Args:
        options: values of the command line: `model`, `weights`, `num_classes`, `trust_code`,
            `classes`, `size`, `mean`, `std`.
    """
    from unspan.artifact import RECEIPT, reopen
    from unspan.data.class_file import read_class_names
    from unspan.data.class_names import names_of_model
    from unspan.data.preprocess import Preprocess
    from unspan.models import build
    from unspan.models.sentences import preprocess_of
    from unspan.system.memory import keep_freed_memory

    keep_freed_memory()
    changes = {name: options[name] for name in ("size", "mean", "std")}
    file = options["classes"]
    given = None if file is None else read_class_names(Path(file))
    if os.path.isfile(Path(options["model"]) / RECEIPT):
        previous = reopen(Path(options["model"]), trust_code=options["trust_code"])
        saved = previous.receipt["model"].get("preprocess")
        own = Preprocess.from_dict(saved) if saved else preprocess_of(previous.model)
        preprocess = _adjusted(own, **changes)
        return Opened(
            start=previous,
            model=previous.model,
            recipe=previous.recipe,
            preprocess=preprocess,
            class_names=given or previous.receipt["model"].get("class_names"),
        )
    loaded = build(options["model"], weights=options["weights"], num_classes=options["num_classes"])
    return Opened(
        start=loaded.model,
        model=loaded.model,
        recipe=loaded.recipe,
        preprocess=_adjusted(loaded.preprocess, **changes),
        class_names=given or loaded.class_names or names_of_model(loaded.model),
        notices=loaded.notices,
    )


def _adjusted(
    preprocess: Preprocess | TextPreprocess | None,
    *,
    size: int | None,
    mean: str | None,
    std: str | None,
) -> Preprocess | TextPreprocess:
    """The model's own preprocessing, with what the command line says instead."""
    from unspan.data.preprocess import Preprocess

    changes: dict[str, Any] = {}
    if size is not None:
        changes |= {"resize": size, "crop": (size, size)}
    for name, text in (("mean", mean), ("std", std)):
        if text is not None:
            changes[name] = _numbers(text, name)
    if isinstance(preprocess, Preprocess) or preprocess is None:
        return replace(preprocess or Preprocess(), **changes)
    if changes:
        raise UsageError("--size, --mean and --std are for images; this model reads text.")
    return preprocess


def _numbers(text: str, name: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(
            f"--{name} {text}: use one number or three, for example 0.5 or 0.48,0.46,0.41."
        ) from error
    return values * 3 if len(values) == 1 else values
