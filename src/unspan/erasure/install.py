"""Write an eraser into a model: as a module at the site, or into the weights of an affine layer or
the head.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from unspan.artifact.record import Placement
from unspan.erasers import Affine, Eraser, LinearMap, Projection, is_mapped, placed
from unspan.errors import ModelError, UsageError
from unspan.extraction import FeatureLayer, attach, head_parameters, is_own_weight, read
from unspan.system.memory import is_wide

AffineLayer = nn.Linear | nn.Conv2d
"""A layer that takes an affine map into its own weights."""


def check_fold(inner: nn.Module, feature_layer: FeatureLayer, form: str) -> None:
    """Refuse the folded form without a head that can take it (UsageError)."""
    if form == "folded" and (
        feature_layer.head is None
        or not is_own_weight(inner, inner.get_submodule(feature_layer.head))
    ):
        raise UsageError(
            "form='folded' needs a linear head with weights of its own (not tied, not"
            " reparametrised); this model has none. Use form='projected'."
        )


def install(
    inner: nn.Module, feature_layer: FeatureLayer, eraser: Eraser, form: str
) -> tuple[Placement, Tensor | None]:
    """Write the eraser into the model, and say what its weights lost.

    A projection also goes into the head: stripping the eraser from the features does not bring the
    scores back.

    Returns:
        Where the eraser is, and what a further request needs: the rows that an affine layer lost,
        or the whole head before it was folded. None where the eraser is a module.
    """
    if not isinstance(eraser, Affine):
        if form == "folded":
            raise UsageError(
                "form='folded' takes affine maps; this eraser decides for every sample by itself."
                " Use form='projected'."
            )
        attach(inner, feature_layer, eraser)
        return "hook", None
    head = _affine(inner, feature_layer.head) if feature_layer.head is not None else None
    if form == "folded":
        assert head is not None, "check_fold refuses a model without a head"
        undo = _weight_and_bias(head)
        fold_input(head, eraser, eraser.offset if isinstance(eraser, LinearMap) else None)
        return "head", undo
    if isinstance(eraser, Projection) and head is not None and is_own_weight(inner, head):
        fold_input(head, eraser)
    if feature_layer.affine and isinstance(eraser, Projection):
        site = _affine(inner, feature_layer.site)
        undo = _lost_rows(site, eraser.basis)
        fold_output(site, eraser)
        return "weights", undo
    attach(inner, feature_layer, eraser)
    return "hook", None


def _affine(inner: nn.Module, name: str) -> AffineLayer:
    return cast(AffineLayer, inner.get_submodule(name))


def _weight_and_bias(layer: AffineLayer) -> Tensor:
    """`[out, in + 1]` float64: the weight, and the bias as last column, 0 where there is none."""
    weight = layer.weight.detach().double().cpu().flatten(1)
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach().cpu()
    return torch.cat([weight, bias.double()[:, None]], 1)


def _lost_rows(site: AffineLayer, basis: Tensor) -> Tensor:
    return basis.double().mT @ _weight_and_bias(site)


def restore_head(head: AffineLayer, before: Tensor) -> None:
    """Bring a folded head back to its weight and bias `[C, d + 1]`, in place."""
    with torch.no_grad():
        head.weight.copy_(before[:, :-1].view_as(head.weight))
        if head.bias is not None:
            head.bias.copy_(before[:, -1])


def restore_rows(site: AffineLayer, basis: Tensor, rows: Tensor) -> None:
    """Add what `install` took from an affine layer again, in place."""
    with torch.no_grad():
        lost = basis.double() @ rows
        site.weight.copy_(
            (site.weight.double().cpu().flatten(1) + lost[:, :-1]).view_as(site.weight)
        )
        if site.bias is not None:
            site.bias.copy_(site.bias.double().cpu() + lost[:, -1])


def verify(
    inner: nn.Module,
    feature_layer: FeatureLayer,
    eraser: Eraser,
    form: str,
    unerased: Tensor,
    head: tuple[Tensor, Tensor] | None,
    inputs: Any,
) -> None:
    """The installed model must give the mapped features, or nothing is returned.

    In the folded form features stay as they were, and the head must give the scores of the mapped
    ones. Differences of a thousandth of the largest value pass (a twentieth in half precision).

    Args:
        inner: the model with the eraser.
        feature_layer: where its features and head are.
        eraser: what was installed.
        form: `projected` or `folded`.
        unerased: `[n, d]` features before.
        head: weight and bias before.
        inputs: that the features are of.
    """
    got, _ = read(inner, feature_layer, inputs)
    tolerance = 1e-3 if unerased.dtype in (torch.float32, torch.float64) else 5e-2
    if form == "folded":
        want = unerased
        after = head_parameters(inner, feature_layer)
        assert head is not None and after is not None, "check_fold refuses a model without a head"
        z = unerased.double().cpu()
        mapped = eraser(z) @ head[0].mT + head[1]
        right = _near(got, unerased, tolerance)
        right = right and _near(z @ after[0].mT + after[1], mapped, tolerance)
    else:
        want = placed(eraser, "last", unerased)(unerased)
        right = is_mapped(eraser, "last", unerased, got, tolerance)
    if not right:
        raise ModelError(
            f"The eraser at '{feature_layer.site}' does not give the projected features (difference"
            f" {float((got - want).abs().max()):.2e}). Choose another place with"
            f" feature_layer='NAME:out'."
        )


def _near(got: Tensor, want: Tensor, tolerance: float) -> bool:
    return bool((got - want).abs().max() <= tolerance * want.abs().max().clamp_min(1e-12))


def fold_output(module: AffineLayer, eraser: Affine) -> None:
    """Replace an affine layer `x -> W x + b` by `x -> A (W x + b)`, in place."""
    with torch.no_grad():
        weight = module.weight
        weight.copy_(_map_times_columns(eraser, weight.double().flatten(1)).view_as(weight))
        if module.bias is not None:
            module.bias.copy_(_map_times_columns(eraser, module.bias.double()))


def _map_times_columns(eraser: Affine, columns: Tensor) -> Tensor:
    """`A columns`, without A as a matrix where that would be large."""
    if isinstance(eraser, Projection) and is_wide(len(eraser.basis)):
        basis = eraser.basis.double().to(columns.device)
        return columns - basis @ (basis.mT @ columns)
    return eraser.matrix().double().to(columns.device) @ columns


def _rows_times_map(eraser: Affine, rows: Tensor) -> Tensor:
    """`rows A`, without A as a matrix where that would be large."""
    if isinstance(eraser, Projection) and is_wide(len(eraser.basis)):
        basis = eraser.basis.double().to(rows.device)
        return rows - (rows @ basis) @ basis.mT
    return rows @ eraser.matrix().double().to(rows.device)


def fold_input(module: AffineLayer, eraser: Affine, offset: Tensor | None = None) -> None:
    """Replace a head `z -> W z + b` by `z -> W (A z + a) + b`, in place; without an offset a is
    0.
    """
    with torch.no_grad():
        weight = module.weight
        if offset is not None:
            shift = weight.double().flatten(1) @ offset.double().to(weight.device)
            module.bias = nn.Parameter(
                (shift if module.bias is None else module.bias.double() + shift).to(weight.dtype)
            )
        weight.copy_(_rows_times_map(eraser, weight.double().flatten(1)).view_as(weight))
