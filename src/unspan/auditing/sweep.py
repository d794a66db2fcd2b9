"""What earlier layers still show, and whether the eraser can be taken off again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unspan.artifact.deletion import record_of
from unspan.auditing.collect import Subject
from unspan.data.inputs import place
from unspan.data.loading import batches
from unspan.extraction import CHILD, arranged, detach, eval_mode, forward, input_like, read
from unspan.metrics.outputs import Outputs
from unspan.models.copying import copied
from unspan.run import Run

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


def layer_outputs(
    one: Subject, names: Sequence[str], forget: Any, retain: Any, run: Run
) -> dict[str, Outputs]:
    """Pooled outputs of modules (mean over positions or tokens), forget rows first."""
    rows: dict[str, list[Tensor]] = {name: [] for name in names}
    labels: list[Tensor] = []
    marks: list[Tensor] = []
    seen: dict[str, Tensor] = {}
    handles = [
        one.model.get_submodule(name).register_forward_hook(
            lambda _m, _a, out, name=name: seen.__setitem__(name, out)
        )
        for name in names
    ]
    try:
        with eval_mode(one.model):
            for is_forget, part in ((True, forget), (False, retain)):
                for batch in batches(part, run, shard=False):
                    with arranged(one.model, batch.inputs) as inputs:
                        forward(one.model, inputs)
                    for name in names:
                        rows[name].append(_pooled(seen[name])[: len(batch)].float().cpu())
                    labels.append(
                        batch.labels if batch.labels is not None else torch.full((len(batch),), -1)
                    )
                    marks.append(torch.full((len(batch),), is_forget))
    finally:
        for handle in handles:
            handle.remove()
    y, f = torch.cat(labels), torch.cat(marks)
    return {
        name: Outputs(features=torch.cat(rows[name]), logits=None, labels=y, forget=f)
        for name in names
    }


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
