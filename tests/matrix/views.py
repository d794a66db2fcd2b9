"""What a model gives to somebody who looks: its answers, its features, every way to them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import unspan
from matrix.prepare import scores
from unspan.artifact.record import RECORD
from unspan.extraction import unwrap
from unspan.extraction.access_outcomes import outcomes


def cast(inputs: Any, model: nn.Module) -> Any:
    """Inputs in the floating dtype that the model works in."""
    wanted = next(one.dtype for one in model.parameters() if one.is_floating_point())
    if isinstance(inputs, Tensor):
        return inputs.to(wanted)
    return inputs


def views(model: nn.Module, inputs: Any) -> dict[str, Tensor]:
    """Every way to look at an erased model, by name."""
    inputs = cast(inputs, model)
    feature_layer = getattr(unwrap(model), RECORD).feature_layer
    with torch.no_grad():
        found = {"scores": scores(model, inputs), "features": unspan.features(model, inputs)}
        ways = outcomes(unwrap(model), feature_layer, inputs)
    found |= {f"way: {name}": value for name, value in ways.items()}
    return {name: value.contiguous().clone() for name, value in found.items()}


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> str:
    """The first view in which two models differ; empty when they agree bit for bit."""
    if one.keys() != other.keys():
        return f"other views: {', '.join(sorted(one.keys() ^ other.keys()))}"
    for name, value in one.items():
        if value.dtype != other[name].dtype:
            return f"{name} is {other[name].dtype}, not {value.dtype}"
        if not torch.equal(value, other[name]):
            gap = (value.double() - other[name].double()).abs().max()
            return f"{name} differs by {float(gap):.2g}"
    return ""
