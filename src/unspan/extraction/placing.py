"""Place an eraser in a model and take it out again: a child module, and hooks that call it."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from unspan.erasers import Eraser, placed
from unspan.extraction.erased_entry import CHILD, ERASED, ErasedEntry
from unspan.extraction.feature_layer import FeatureLayer
from unspan.extraction.returned import changed_at

RECORD = "_unspan"  # attribute of an erased model: how it was erased


def attach(model: nn.Module, feature_layer: FeatureLayer, eraser: Eraser) -> None:
    """Place an eraser at the site, as a child module that travels with the model."""
    name, path = _carrier(model, feature_layer)
    carrier, site = model.get_submodule(name), model.get_submodule(feature_layer.site)
    like = next(
        (p for p in (*site.parameters(), *model.parameters()) if p.is_floating_point()),
        torch.zeros(()),
    )
    eraser = placed(eraser, feature_layer.layout, like).train(carrier.training)
    if feature_layer.appended:
        assert feature_layer.key is not None
        model.add_module(ERASED, ErasedEntry(feature_layer.key, eraser))
        return
    carrier.add_module(CHILD, eraser)
    if feature_layer.before and feature_layer.keyword is not None:
        site.register_forward_pre_hook(
            partial(_erase_keyword, eraser, feature_layer.keyword), prepend=True, with_kwargs=True
        )
    elif feature_layer.before:
        site.register_forward_pre_hook(partial(_erase_input, eraser), prepend=True)
    else:
        site.register_forward_hook(
            partial(_erase_here if path else _erase_with_own, eraser), prepend=True
        )
    if path:
        guard = (
            partial(_guard_head, path, feature_layer.keyword)
            if feature_layer.before
            else partial(_guard_site, path)
        )
        carrier.register_forward_pre_hook(guard, prepend=True)
    if feature_layer.returned:
        model.register_forward_hook(partial(_erase_returned, eraser, feature_layer.returned))


def detach(model: nn.Module, feature_layer: FeatureLayer) -> None:
    """Take the eraser away from the site again."""
    if feature_layer.appended:
        delattr(model, ERASED)
        return
    carrier = model.get_submodule(_carrier(model, feature_layer)[0])
    for module in (model, carrier, model.get_submodule(feature_layer.site)):
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key in [key for key, hook in hooks.items() if _is_ours(hook)]:
                del hooks[key]
                module._forward_pre_hooks_with_kwargs.pop(key, None)
    delattr(carrier, CHILD)


def _carrier(model: nn.Module, feature_layer: FeatureLayer) -> tuple[str, str]:
    """The module that holds the eraser, and the path from it to the hooked module.

    An eraser on a head's input is held by the nearest ancestor that is not a `Sequential` (whose
    children are its program), so that it outlives a replaced head; one behind a pooling by the
    farthest, since poolings are made anew too.
    """
    if not feature_layer.before and (not feature_layer.whole or not feature_layer.site):
        return feature_layer.site, ""
    parts = feature_layer.site.split(".")
    cuts = (
        range(len(parts))
        if feature_layer.whole and not feature_layer.before
        else range(len(parts) - 1, -1, -1)
    )
    for cut in cuts:
        if not isinstance(model.get_submodule(".".join(parts[:cut])), nn.Sequential):
            return ".".join(parts[:cut]), ".".join(parts[cut:])
    return feature_layer.site, ""


def _erase_output(module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> Tensor:
    return getattr(module, CHILD)(output)


def _erase_with_own(
    eraser: Eraser, module: nn.Module, _args: tuple[Any, ...], output: Tensor
) -> Tensor:
    """Erase by the eraser in the module, or by that of the hook where the module has none.

    Quantisation makes a linear layer anew without its children, and takes the hooks along.
    """
    carried: Eraser = getattr(module, CHILD) if hasattr(module, CHILD) else eraser
    return carried(output)


def _erase_input(eraser: Eraser, _module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (eraser(args[0]), *args[1:])


def _erase_keyword(
    eraser: Eraser, name: str, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if args:  # a head made anew is called as its owner likes
        return (eraser(args[0]), *args[1:]), kwargs
    return args, kwargs | {name: eraser(kwargs[name])}


def _erase_returned(
    eraser: Eraser,
    paths: tuple[tuple[str | int, ...], ...],
    _module: nn.Module,
    _args: tuple[Any, ...],
    output: Any,
) -> Any:
    """Features that the model hands out beside its scores are erased as well."""
    for path in paths:
        output = changed_at(output, path, eraser)
    return output


def _erase_here(
    eraser: Eraser, _module: nn.Module, _args: tuple[Any, ...], output: Tensor
) -> Tensor:
    return eraser(output)


def _guard_site(path: str, carrier: nn.Module, _args: tuple[Any, ...]) -> None:
    """Give a pooling that was made anew the eraser, before it is called.

    timm's `reset_classifier` makes one, for example.
    """
    site = carrier.get_submodule(path)
    if not any(_is_ours(hook) for hook in site._forward_hooks.values()):
        site.register_forward_hook(partial(_erase_here, _carried(carrier)), prepend=True)


def _guard_head(path: str, keyword: str | None, carrier: nn.Module, _args: tuple[Any, ...]) -> None:
    """Give a head that was replaced (by `nn.Identity()`, say) the eraser before it is called."""
    head = carrier.get_submodule(path)
    if any(_is_ours(hook) for hook in head._forward_pre_hooks.values()):
        return
    eraser = _carried(carrier)
    if keyword is None:
        head.register_forward_pre_hook(partial(_erase_input, eraser), prepend=True)
    else:
        head.register_forward_pre_hook(
            partial(_erase_keyword, eraser, keyword), prepend=True, with_kwargs=True
        )


def _carried(carrier: nn.Module) -> Eraser:
    """The eraser that a module carries."""
    return cast(Eraser, carrier.get_submodule(CHILD))


def _is_ours(hook: Any) -> bool:
    return hook is _erase_output or getattr(hook, "func", None) in (
        _erase_with_own,
        _erase_input,
        _erase_keyword,
        _erase_returned,
        _erase_here,
        _guard_head,
        _guard_site,
    )
