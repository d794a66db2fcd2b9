"""What earlier layers still show, and whether the eraser can be taken off again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Subset

from unspan.artifact.record import record_of
from unspan.auditing.attack_split import Parts
from unspan.auditing.beside import Aside
from unspan.auditing.readers import Read, Reader
from unspan.auditing.subjects import Subject
from unspan.auditing.views import some
from unspan.data.batch import Batch
from unspan.data.inputs import first_rows, place
from unspan.data.protocols import MapStyle
from unspan.extraction import (
    CHILD,
    EqualModules,
    arranged,
    detach,
    eval_mode,
    forward,
    input_like,
    read,
)
from unspan.metrics.outputs import Outputs
from unspan.models.copying import copied

_LAYERS = 3
_FIT, _TEST = 5000, 2000  # samples of the sweep


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


def shared_layers(subjects: Sequence[Subject], inputs: Any) -> list[str]:
    """`layers` of the first model; none where another model lacks one of them."""
    names = layers(subjects[0], inputs)
    for one in subjects:
        known = dict(one.model.named_modules())
        if any(name not in known for name in names):
            return []
    return names


def swept(parts: Parts) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Forgotten and retained samples of the sweep: those that the attacker knows, and those that
    he is judged on.
    """
    known = _at_most(parts.fit_forget, _FIT // 10), _at_most(parts.fit_retain, _FIT - _FIT // 10)
    return known, (_at_most(parts.test_forget, _TEST // 2), _at_most(parts.test_retain, _TEST // 2))


def _at_most(data: Any, count: int) -> Any:
    """Some samples, or all where they cannot be had by position."""
    return some(data, count) if isinstance(data, MapStyle) else data


def layer_reader(names: Sequence[str]) -> Reader:
    """Reads pooled outputs of modules (mean over positions or tokens), side by side."""

    def read_layers(
        subjects: Sequence[Subject], batch: Batch, together: EqualModules
    ) -> list[Read]:
        with together.one_batch():
            return [(_read_layers(one, names, batch), None) for one in subjects]

    return Reader("layers " + ", ".join(names), read_layers)


def layers_aside(names: Sequence[str], forget: Any, retain: Any) -> Aside | None:
    """Reads the same in the pass that reads features.

    None without layers, or where samples were not chosen by their positions.

    Args:
        names: of the layers.
        forget: samples of the sweep, a subset of those of the request.
        retain: likewise, of the others.
    """
    if not names or not all(isinstance(part, Subset) for part in (forget, retain)):
        return None
    return Aside(layer_reader(names), partial(_watched, names=names), forget, retain)


@contextmanager
def _watched(one: Subject, names: Sequence[str]) -> Iterator[Callable[[], Tensor]]:
    """Within, the model runs; what is yielded gives the pooled outputs of its last run."""
    with _outputs_of(one, names) as seen:
        yield lambda: _side_by_side([seen[name] for name in names])


def _read_layers(one: Subject, names: Sequence[str], batch: Batch) -> Tensor:
    with eval_mode(one.model), arranged(one.model, batch.inputs) as inputs:
        found = _layers_of(one, names, inputs)
    return _side_by_side(found)[: len(batch)]


def _side_by_side(outputs: Sequence[Tensor]) -> Tensor:
    """Pooled outputs of all layers, `[n, d]` float32 on the CPU."""
    return torch.cat([_pooled(one).float().cpu() for one in outputs], 1)


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
        widths = [_pooled(part).shape[1] for part in _layers_of(one, names, few)]
    parts = outputs.features.split(widths, 1)
    return {name: replace(outputs, features=part) for name, part in zip(names, parts, strict=True)}


def _layers_of(one: Subject, names: Sequence[str], inputs: Any) -> list[Tensor]:
    """Outputs of modules in one forward pass."""
    with _outputs_of(one, names) as seen:
        forward(one.model, inputs)
    return [seen[name] for name in names]


@contextmanager
def _outputs_of(one: Subject, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Within, the outputs of modules are noted whenever the model runs."""
    seen: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for name in names:
            module = one.model.get_submodule(name)
            hook = module.register_forward_hook(
                lambda _m, _a, out, name=name: seen.__setitem__(name, out)
            )
            stack.callback(hook.remove)
        yield seen


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
