"""Gradients of single samples, and their mean size, which damping of weights goes by."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from unspan.data.inputs import cut_rows, place
from unspan.errors import DataError, UsageError
from unspan.extraction import eval_mode, input_like, logits_of
from unspan.training.context import TrainingContext, class_scores
from unspan.training.samples import Minibatch

_ENTRIES = 2**26  # numbers of gradients held at once
Value = Callable[[Tensor, Tensor], Tensor]  # scores [1, C] and label [1] of a sample -> scalar


def mean_size(
    context: TrainingContext,
    part: str,
    value: Value,
    size: Callable[[Tensor], Tensor],
    batch: int,
) -> dict[str, Tensor]:
    """Mean of `size(d value / d theta)` over the samples of a part, by name of the parameter.

    The model is in evaluation mode. Every sample has a gradient of its own, so `batch` changes the
    memory and the last digits only. Fewer samples are taken at once where the model is large.

    Args:
        context: the model and its data.
        part: `forget` or `retain`.
        value: what is differentiated.
        size: of every entry of a gradient, such as its square.
        batch: most samples whose gradients are held at once.

    Returns:
        Float32 tensors of the shapes of all parameters that require gradients.

    Raises:
        UsageError: no parameter requires gradients.
    """
    weights = {name: one for name, one in context.model.named_parameters() if one.requires_grad}
    if not weights:
        raise UsageError("No parameter of this model requires gradients, so none can be changed.")
    samples = context.samples(part)
    total = {name: torch.zeros_like(one, dtype=torch.float32) for name, one in weights.items()}
    count = sum(one.numel() for one in weights.values())
    done = 0
    with eval_mode(context.model):
        for one in samples.minibatches(max(1, min(batch, _ENTRIES // count))):
            for slopes in _slopes(context.model, weights, one, value):
                _check_finite(slopes, one, part)
                for name, slope in slopes.items():
                    total[name] += size(slope.float()).sum(0)
            done += len(one)
            context.run.report(f"gradients of {part} samples", done, len(samples))
    return {name: sum_ / len(samples) for name, sum_ in total.items()}


def _check_finite(slopes: dict[str, Tensor], batch: Minibatch, part: str) -> None:
    """Refuse gradients `[n, ...]` that are no numbers; `n` is the batch or one sample of it."""
    for name, slope in slopes.items():
        good = torch.isfinite(slope).reshape(len(slope), -1).all(1)
        if not bool(good.all()):
            row = int((~good).nonzero()[0])
            which = f"sample {int(batch.index[row])}" if len(slope) == len(batch) else "a sample"
            raise DataError(
                f"The gradient of '{name}' is NaN or infinite for {which} of the {part} data."
                " Check that sample, or leave it out; use float32 (model.float())."
            )


def _slopes(
    model: nn.Module, weights: dict[str, nn.Parameter], batch: Minibatch, value: Value
) -> Iterator[dict[str, Tensor]]:
    """Gradients `[n, ...]` by name, of all samples at once where the inputs are one tensor."""
    like = input_like(model, batch.x)
    x = place(batch.x, like)
    y = batch.y.to(next(iter(weights.values())).device)
    if isinstance(x, Tensor):
        yield _together(model, weights, x, y, value)
        return
    names = list(weights)
    for row in range(len(batch)):
        with torch.enable_grad():
            scores = class_scores(model, cut_rows(x, slice(row, row + 1)))
            found = torch.autograd.grad(
                value(scores, y[row : row + 1]), list(weights.values()), allow_unused=True
            )
        yield {
            name: slope[None] for name, slope in zip(names, found, strict=True) if slope is not None
        }


def _together(
    model: nn.Module, weights: dict[str, nn.Parameter], x: Tensor, y: Tensor, value: Value
) -> dict[str, Tensor]:
    buffers = dict(model.named_buffers())

    def of_one(current: dict[str, Tensor], sample: Tensor, label: Tensor) -> Tensor:
        given = (sample[None],)
        scores = logits_of(torch.func.functional_call(model, (current, buffers), given))
        assert scores is not None
        return value(scores.flatten(1).float(), label[None])

    with torch.enable_grad():
        current = {name: one.detach() for name, one in weights.items()}
        return torch.func.vmap(torch.func.grad(of_one), in_dims=(None, 0, 0))(current, x, y)
