"""Run a model, and read its features at a feature layer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from unspan.data.inputs import first_rows, place
from unspan.errors import UnspanError, UsageError
from unspan.extraction.feature_layer import FeatureLayer, Pool
from unspan.extraction.layers import given_to, stored_affine
from unspan.models.libraries import is_sentence_transformer


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside `torch.compile` and `DataParallel` wrappers."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(
            model, (nn.DataParallel, nn.parallel.DistributedDataParallel)
        ):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every module's flag is put back afterwards."""
    flags = [(module, module.training) for module in model.modules()]
    try:
        with torch.no_grad():
            model.eval()
            yield
    finally:
        for module, flag in flags:
            module.training = flag


_MET: WeakKeyDictionary[nn.Module, tuple[str, str]] = WeakKeyDictionary()


def input_like(model: nn.Module, inputs: Any) -> Tensor | None:
    """The parameter that the inputs meet first: its dtype and device are those of the inputs.

    The first parameter of a model can be of another dtype or on another device than the layer that
    is called first. It is found by one call with two samples, and remembered for the model.
    """
    known = _MET.get(model)
    if known is not None and known[0] in dict(model.named_modules()):
        found = getattr(model.get_submodule(known[0]), known[1], None)
        if isinstance(found, Tensor):
            return found
    floating = [one for one in model.parameters() if one.is_floating_point()]
    if len({(one.dtype, one.device) for one in floating}) <= 1:
        return floating[0] if floating else next(model.parameters(), None)
    met: list[tuple[str, str]] = []

    def hook(name: str) -> Callable[..., None]:
        def note(module: nn.Module, _args: Any) -> None:
            own = [key for key, one in module.named_parameters(recurse=False)]
            floats = [key for key in own if getattr(module, key).is_floating_point()]
            if any(True for child in module.children() for _ in child.parameters()):
                return  # a part of it is what the inputs meet
            if floats and not met:
                met.append((name, floats[0]))

        return note

    with ExitStack() as stack:
        for name, module in model.named_modules():
            stack.callback(module.register_forward_pre_hook(hook(name)).remove)
        stack.enter_context(eval_mode(model))
        stack.enter_context(suppress(Exception))  # a wrong dtype fails after the layer is met
        forward(model, place(first_rows(inputs, 2), floating[0]))
    if not met:
        return floating[0]
    _MET[model] = met[0]
    return getattr(model.get_submodule(met[0][0]), met[0][1])


def forward(model: nn.Module, inputs: Any) -> Any:
    """Call the model on a tensor, a tuple of arguments, or a dict of keyword arguments.

    Raises:
        UsageError: the call fails; names the model and what its forward takes.
    """
    try:
        if isinstance(inputs, dict):
            # one dict, which its modules write into
            return model(dict(inputs)) if is_sentence_transformer(model) else model(**inputs)
        return model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)
    except (UnspanError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if "allocate memory" in str(error):
            raise
        raise UsageError(_forward_message(model, inputs, error)) from error


def _forward_message(model: nn.Module, inputs: Any, error: Exception) -> str:
    line = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
    signature = inspect.signature(type(model).forward)
    return (
        f"{type(model).__name__}.forward{signature} failed on {describe(inputs)}: {line}. Give"
        " batches its forward accepts (a tensor, a tuple, or a dict of keyword arguments)."
    )


def describe(value: Any) -> str:
    """Short text for tensors and containers of tensors, for messages."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, dict) or hasattr(value, "keys"):
        keys = list(value.keys())  # an output class of a library may iterate over its values
        return "{" + ", ".join(f"{key}: {describe(value[key])}" for key in keys) + "}"
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(map(describe, value)) + ")"
    return type(value).__name__


def read(model: nn.Module, feature_layer: FeatureLayer, inputs: Any) -> tuple[Tensor, Any]:
    """One forward pass: features `[n, d]` at the feature layer, and the model's output."""
    seen: list[Any] = []
    module = model.get_submodule(feature_layer.reads)
    scores: list[Any] = []
    with ExitStack() as stack:
        if feature_layer.output:
            hook = module.register_forward_hook(lambda _m, _a, out: seen.append(out))
        else:
            hook = module.register_forward_pre_hook(
                lambda _m, args, kwargs: seen.append(given_to(args, kwargs)[1]), with_kwargs=True
            )
        stack.callback(hook.remove)
        if feature_layer.pool == "last" and feature_layer.head is not None:
            head = model.get_submodule(feature_layer.head)
            after = head.register_forward_hook(lambda _m, _a, out: scores.append(out))
            stack.callback(after.remove)
        output = forward(model, inputs)
    found = seen[0] if feature_layer.key is None else seen[0][feature_layer.key]
    if feature_layer.pool == "last" and isinstance(found, Tensor) and found.ndim == 3:
        logits = logits_of(output)
        if scores and logits is not None:
            return at_tokens(found, chosen_tokens(scores[0], logits)), output
        return at_tokens(found, last_tokens(found, inputs)), output
    return pooled(found, feature_layer.pool), output


def chosen_tokens(scores: Tensor, logits: Tensor) -> Tensor:
    """Which token's scores `[n, t, C]` the model returned as `[n, C]`: positions `[n]`."""
    return (scores.float() - logits.float()[:, None]).abs().amax(2).argmin(1)


def last_tokens(z: Tensor, inputs: Any) -> Tensor:
    """Position `[n]` of the last token of `z` `[n, t, d]` that the attention mask does not hide."""
    mask = inputs.get("attention_mask") if isinstance(inputs, Mapping) else None
    if not isinstance(mask, Tensor) or mask.shape != z.shape[:2]:
        return torch.full((len(z),), z.shape[1] - 1, device=z.device)
    positions = torch.arange(z.shape[1], device=mask.device)
    return (mask.long() * positions).argmax(1).to(z.device)


def at_tokens(z: Tensor, positions: Tensor) -> Tensor:
    """The vector `[n, d]` at a position `[n]` of each row of tokens `[n, t, d]`."""
    return z[torch.arange(len(z), device=z.device), positions.to(z.device)]


def pooled(z: Any, pool: Pool | None) -> Tensor:
    """Features as one vector a sample, `[n, d]`: tokens by `cls` or `mean`, maps by `gap`.

    Trailing 1x1 axes are dropped.

    Raises:
        UsageError: several vectors a sample and no pooling chosen; never flattened in silence.
    """
    if not isinstance(z, Tensor):
        raise UsageError(
            f"The feature layer gives {describe(z)}, not one tensor. Name an entry,"
            f" feature_layer='output:KEY', or"
            " another module with feature_layer=."
        )
    if z.ndim > 2 and z[0, 0].numel() == 1:
        z = z.flatten(1)
    if z.ndim == 3 and pool in ("cls", "mean"):
        return z[:, 0] if pool == "cls" else z.mean(1)
    if z.ndim == 4 and pool in ("gap", "mean"):
        return z.mean((2, 3))
    if z.ndim != 2:
        raise UsageError(
            f"The features are {describe(z)}, more than one vector a sample. Choose pool='cls',"
            " 'mean', 'last' (tokens) or 'gap' (maps), or another feature_layer=."
        )
    return z


def relative_difference(one: Tensor, other: Tensor) -> float:
    """Largest difference of two tensors, as a share of the largest entry.

    Infinite where the shapes differ.
    """
    if one.shape != other.shape:
        return float("inf")
    if one.numel() == 0:
        return 0.0
    a, b = one.detach().double().cpu(), other.detach().double().cpu()
    return float((a - b).abs().max() / a.abs().max().clamp_min(1e-30))


def logits_of(output: Any) -> Tensor | None:
    """The class scores `[n, C]` in a model output, or None when there is no single one."""
    if isinstance(output, Tensor):
        return output
    if getattr(output, "logits", None) is not None:
        return output.logits
    if isinstance(output, dict) and isinstance(output.get("logits"), Tensor):
        return output["logits"]
    return None


def scores_at(
    model: nn.Module, feature_layer: FeatureLayer, features: Tensor, output: Any
) -> Tensor | None:
    """Class scores `[n, C]` of one forward pass; None without a head.

    They are the model's own, or those that its head gives for the features where the output holds
    several tensors.
    """
    if feature_layer.embeds:
        return None
    own = logits_of(output)
    if own is None and feature_layer.scores:
        return features
    if own is not None:
        return own.flatten(1)
    head = head_parameters(model, feature_layer)
    if head is None:
        return None
    return (features.double().cpu() @ head[0].mT + head[1]).to(features.device, torch.float32)


def head_parameters(model: nn.Module, feature_layer: FeatureLayer) -> tuple[Tensor, Tensor] | None:
    """Weight `[C, d]` and bias `[C]` of the head in float64 on the CPU, or None without a head.

    What the model adds to each class behind the head counts as bias.
    """
    if feature_layer.head is None:
        return None
    stored, offset = stored_affine(model.get_submodule(feature_layer.head))
    weight = stored.double().cpu()
    bias = torch.zeros(len(weight), dtype=torch.float64)
    if offset is not None:
        bias += offset.double().cpu()
    if feature_layer.shift:
        bias += torch.tensor(feature_layer.shift, dtype=torch.float64)
    return weight, bias
