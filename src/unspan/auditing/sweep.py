"""What earlier layers still show, and whether the eraser can be taken off again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from unspan.artifact.record import record_of
from unspan.auditing.collect import Reader
from unspan.auditing.subjects import Subject
from unspan.data.batch import Batch
from unspan.data.inputs import first_rows, place
from unspan.extraction import CHILD, arranged, detach, eval_mode, forward, input_like, read
from unspan.metrics.outputs import Outputs
from unspan.models.copying import copied

_LAYERS = 3


def layers(one: Subject, inputs: Any) -> list[str]:
    """Up to three modules before the features, evenly spaced over those that ran; names of leaf
    modules.
    """
    ran: list[str] = []
    handles = []
    for name, module in one.model.named_modules():
        if (
            any(child != CHILD for child, _ in module.named_children())
            or name.rpartition(".")[2] == CHILD
        ):
            continue
        handles.append(
            module.register_forward_hook(
                lambda _m, _a, out, name=name: (
                    ran.append(name) if isinstance(out, Tensor) and out.ndim > 1 else None
                )
            )
        )
    try:
        with eval_mode(one.model):  # one plain pass: every module is to run once
            forward(one.model, place(inputs, input_like(one.model, inputs)))
    finally:
        for handle in handles:
            handle.remove()
    end = next(
        (
            i
            for i, name in enumerate(ran)
            if name in (one.feature_layer.site, one.feature_layer.reads)
        ),
        len(ran),
    )
    before = [name for name in dict.fromkeys(ran[:end]) if ran.count(name) == 1]
    return (
        [before[round((i + 1) * len(before) / (_LAYERS + 1))] for i in range(_LAYERS)]
        if len(before) > _LAYERS
        else before
    )


def layer_reader(names: Sequence[str]) -> Reader:
    """Reads pooled outputs of modules (mean over positions or tokens), side by side."""

    def read_layers(one: Subject, batch: Batch) -> tuple[Tensor, None]:
        with eval_mode(one.model), arranged(one.model, batch.inputs) as inputs:
            found = _layers_of(one, names, inputs)
        return torch.cat([part[: len(batch)].float().cpu() for part in found], 1), None

    return Reader("layers " + ", ".join(names), read_layers)


def by_layer(
    outputs: Outputs, one: Subject, names: Sequence[str], inputs: Any
) -> dict[str, Outputs]:
    """What `layer_reader` read of a model, layer by layer.

    Args:
        outputs: pooled outputs of all layers side by side.
        one: the model.
        names: of the layers.
        inputs: some samples, which tell how wide the layers are.
    """
    with eval_mode(one.model):
        few = place(first_rows(inputs, 2), input_like(one.model, first_rows(inputs, 2)))
        widths = [part.shape[1] for part in _layers_of(one, names, few)]
    parts = outputs.features.split(widths, 1)
    return {name: replace(outputs, features=part) for name, part in zip(names, parts, strict=True)}


def _layers_of(one: Subject, names: Sequence[str], inputs: Any) -> list[Tensor]:
    """Pooled outputs `[n, d]` of modules in one forward pass."""
    seen: dict[str, Tensor] = {}
    handles = [
        one.model.get_submodule(name).register_forward_hook(
            lambda _m, _a, out, name=name: seen.__setitem__(name, out)
        )
        for name in names
    ]
    try:
        forward(one.model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return [_pooled(seen[name]) for name in names]


def _pooled(out: Tensor) -> Tensor:
    if out.ndim == 4:
        return out.mean((2, 3))
    return out.mean(1) if out.ndim == 3 else out.flatten(1)


def changed(before: nn.Module, after: nn.Module, head: str | None) -> list[str]:
    """Names of parameters and buffers that differ, the head's and the eraser's left out; missing
    ones count.
    """
    old, new = before.state_dict(), after.state_dict()
    names = [name for name in old if head is None or not name.startswith(f"{head}.")]
    return [
        name
        for name in names
        if name not in new or not torch.equal(old[name].cpu(), new[name].cpu())
    ]


def without_eraser(one: Subject, original: Subject, inputs: Any) -> float | None:
    """Share of samples whose features are bit for bit the original's once the eraser is taken off.

    None when there is no eraser that can be taken off (it was folded into weights, or weights were
    trained).
    """
    record = record_of(one.model)
    if record is None or record.placement != "hook":
        return None
    bare = copied(one.model)
    detach(bare, record.feature_layer)
    with eval_mode(bare), eval_mode(original.model):
        inputs = place(inputs, input_like(bare, inputs))
        got, want = (
            read(bare, one.feature_layer, inputs)[0],
            read(original.model, original.feature_layer, inputs)[0],
        )
    return float((got == want).all(1).double().mean())
