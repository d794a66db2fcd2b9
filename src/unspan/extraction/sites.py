"""The site of an eraser: the most upstream module where mapping the output maps the features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from unspan.erasers import FeatureMap, Layout, LinearMap
from unspan.errors import ModelError, UsageError
from unspan.extraction.feature_layer import FeatureLayer
from unspan.extraction.layers import is_transposed
from unspan.extraction.reading import read
from unspan.extraction.tracing import Trace
from unspan.models.libraries import is_sentence_transformer
from unspan.system.memory import is_wide

_RANK = 16  # of the random map of wide features
_PATIENCE = 4  # candidates that may fail in a row before the search for a more upstream site stops


def most_upstream(
    model: nn.Module,
    inputs: Any,
    trace: Trace,
    feature_layer: FeatureLayer,
    features: Tensor,
    *,
    whole: bool = False,
) -> tuple[str, bool, Layout]:
    """The most upstream site, whether it is the input of the head, and the layout there.

    The search walks back from the features through finished modules, as long as random linear maps
    arrive unchanged. The eraser of a `SentenceTransformer` follows its last module instead: the
    library saves its modules one by one, and would leave out what hooks hold.

    With `whole` only modules count whose output is one vector a sample, where a map that is not
    affine works too.
    """
    if feature_layer.key is not None and is_sentence_transformer(model):
        return "", False, "last"
    dim = features.shape[1]
    probes = _probes(features)
    expected = probes("last")(features)
    end = trace.finished.index(feature_layer.reads) + (1 if feature_layer.output else 0)
    best: tuple[str, bool, Layout] | None = (
        None
        if feature_layer.output
        else (feature_layer.reads, True, _input_layout(trace, feature_layer, whole))
    )
    failures = 0
    for name in reversed(trace.finished[:end]):
        if failures >= _PATIENCE:
            break
        module = model.get_submodule(name)
        if (
            trace.calls[name] != 1
            or name not in trace.shapes
            or isinstance(module, (nn.Sequential, nn.ModuleList))
        ):
            continue
        layout = next(
            (
                option
                for option in _layouts(trace.shapes[name], dim, whole)
                if _arrives(model, inputs, feature_layer, name, probes(option), expected)
            ),
            None,
        )
        if layout is None:
            failures += 1
        else:
            best, failures = (name, False, layout), 0
    if best is None:
        raise ModelError(
            f"No module output of {type(model).__name__} carries the features at"
            f" '{feature_layer.reads or 'output'}' unchanged. Pass feature_layer='NAME:out' for a"
            f" module that returns"
            " them as one tensor."
        )
    return best


def _input_layout(trace: Trace, feature_layer: FeatureLayer, whole: bool) -> Layout:
    given = trace.linear[feature_layer.reads][0] if feature_layer.reads in trace.linear else None
    return ("flat" if whole else "channels") if given is not None and given.ndim == 4 else "last"


def _layouts(shape: torch.Size, dim: int, whole: bool) -> Iterator[Layout]:
    if whole:
        if shape[1:].numel() == dim:
            yield "last" if len(shape) == 2 else "flat"
        return
    if len(shape) >= 2 and shape[-1] == dim:
        yield "last"
    if len(shape) >= 3 and shape[1] == dim:
        yield "channels"
    if len(shape) > 2 and shape[1:].numel() == dim:
        yield "flat"


class _Added(FeatureMap):
    """`z -> z + L Rᵀ z`: a random map of low rank, for features too wide for a matrix `[d, d]`."""

    left: Tensor
    right: Tensor

    def __init__(self, left: Tensor, right: Tensor, layout: Layout):
        super().__init__()
        self.layout = layout
        self.register_buffer("left", left)
        self.register_buffer("right", right)

    def map_features(self, z: Tensor) -> Tensor:
        if self.layout == "channels":
            return z + (self.left @ (self.right.mT @ z.flatten(2))).view_as(z)
        flat = z.flatten(1) if self.layout == "flat" else z
        return z + ((flat @ self.right) @ self.left.mT).view_as(z)


def _probes(features: Tensor) -> Callable[[Layout], FeatureMap]:
    """The same random linear map of `[n, d]` features in any layout."""
    dim = features.shape[1]
    generator = torch.Generator().manual_seed(0)
    if not is_wide(dim):
        random = torch.eye(dim) + 0.5 * torch.randn(dim, dim, generator=generator) / dim**0.5
        return partial(LinearMap, random.to(features.device, features.dtype))
    left, right = (
        torch.randn(dim, _RANK, generator=generator).to(features.device, features.dtype)
        for _ in range(2)
    )
    return partial(_Added, left * (0.5 / (_RANK * dim) ** 0.5), right)


def _arrives(
    model: nn.Module,
    inputs: Any,
    feature_layer: FeatureLayer,
    name: str,
    probe: FeatureMap,
    expected: Tensor,
) -> bool:
    handle = model.get_submodule(name).register_forward_hook(
        lambda _m, _a, out: probe(out), prepend=True
    )
    try:
        mapped, _ = read(model, feature_layer, inputs)
    except UsageError:
        return False
    finally:
        handle.remove()
    tolerance = 1e-4 if expected.dtype in (torch.float32, torch.float64) else 3e-2
    return mapped.shape == expected.shape and bool(
        (mapped - expected).abs().max() <= tolerance * expected.abs().max()
    )


def absorbs(model: nn.Module, name: str, layout: Layout) -> bool:
    """Whether the site is an affine layer that can take the map into its own weights."""
    site = model.get_submodule(name)
    plain = (
        type(site) is nn.Linear
        and layout == "last"
        or type(site) is nn.Conv2d
        and layout == "channels"
        and site.groups == 1
    )
    return plain and is_own_weight(model, site)


def is_own_weight(model: nn.Module, module: nn.Module) -> bool:
    """Whether the weight `[out, in]` is a plain parameter that no other module uses.

    It is not when it is tied, reparametrised or stored the other way round.
    """
    weight = module._parameters.get("weight")
    if not isinstance(module, (nn.Linear, nn.Conv2d)) and is_transposed(module):
        return False
    owners = sum(
        1 for other in model.modules() for value in other._parameters.values() if value is weight
    )
    return weight is not None and owners == 1
