"""Load the weights of a safetensors file into a model, strictly."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from unspan.errors import ModelError
from unspan.models.libraries import quiet
from unspan.models.loaded import check_usable
from unspan.models.safetensors_files import read_safetensors


@runtime_checkable
class _Pretrained(Protocol):
    """A model of transformers, which is built from a config."""

    config: Any

    def from_pretrained(self, *args: Any, **kwargs: Any) -> Any: ...


def load_weights(model: nn.Module, path: Path) -> list[str]:
    """Load a safetensors file into `model`, in place and strictly; `module.` and `_orig_mod.`
    prefixes are stripped.

    Returns:
        Notices for the user.

    Raises:
        UsageError: No such file.
        ModelError: A damaged file, values that are not finite, or keys, shapes or dtypes that do
            not fit.
        UnsafeFileError: The file is not safetensors.
    """
    state, notices = read_state(path)
    try:
        assign(model, state)
    except ModelError as error:
        raise ModelError(f"{path.name}: {error}") from error
    return notices


def read_state(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors without wrapper prefixes, and notices."""
    state = read_safetensors(path)
    for name in state:
        if re.search("_fsdp_wrapped_module|_fsdp_param|_flat_param", name):
            raise ModelError(
                f"{path.name}: {name!r} is a shard of FSDP training; consolidate the shards first"
            )
    notices = []
    while prefix := _common(state, "module.") or _common(state, "_orig_mod."):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
        notices.append(f"stripped prefix {prefix}")
    return state, notices


def assign(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Put `state` into `model`, in place and strictly; ModelError lists what does not fit.

    Every tensor takes the dtype that it has in `state`: half-precision weights make a
    half-precision model.
    """
    check_usable(model)
    own = model.state_dict(keep_vars=True)
    if isinstance(model, _Pretrained) and _completed(own, state).keys() != own.keys():
        state = _converted(model, state)
    state = _completed(own, state)
    _refuse_misfits(model, own, state)
    match_dtypes(model, state)
    model.load_state_dict(state, strict=True)


def _refuse_misfits(
    model: nn.Module, own: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> None:
    """Refuse weights that are missing, unexpected, or of another shape or kind (ModelError)."""
    problems = {
        "missing": [f"{key} {list(own[key].shape)}" for key in own if key not in state],
        "unexpected": [f"{key} {list(state[key].shape)}" for key in state if key not in own],
        "of another shape": [
            f"{key} {list(state[key].shape)}, not {list(own[key].shape)}"
            for key in own
            if key in state and state[key].shape != own[key].shape
        ],
        "of integers": [
            f"{key} {state[key].dtype}"
            for key in own
            if key in state and own[key].is_floating_point() and not state[key].is_floating_point()
        ],
    }
    if any(problems.values()):
        lines = [
            f"\n  {len(keys)} {kind}: {', '.join(keys[:10])}"
            for kind, keys in problems.items()
            if keys
        ]
        raise ModelError(
            f"the weights do not fit {type(model).__name__}; give those of this architecture (at"
            f" most 10 shown of each){''.join(lines)}"
        )


def match_dtypes(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give the floating tensors of `model` the dtypes that `state` holds them in, in place."""
    for module_name, module in model.named_modules():
        prefix = f"{module_name}." if module_name else ""
        for name, one in module.named_parameters(recurse=False):
            stored = state.get(prefix + name)
            if stored is not None and one.is_floating_point() and one.dtype != stored.dtype:
                one.data = one.data.to(stored.dtype)
        for name, buffer in module.named_buffers(recurse=False):
            stored = state.get(prefix + name)
            if stored is not None and buffer.is_floating_point():
                module._buffers[name] = buffer.to(stored.dtype)


def _converted(model: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`state` under the names of a transformers model, whose releases rename keys between file and
    module.
    """
    with quiet():
        other, info = type(model).from_pretrained(
            None,
            config=model.config,
            state_dict=dict(state),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    found = {
        key: value for key, value in other.state_dict().items() if key not in info["missing_keys"]
    }
    misfits = {key: torch.empty(shape, device="meta") for key, shape, _ in info["mismatched_keys"]}
    return (
        found | misfits | {key: state.get(key, torch.empty(0)) for key in info["unexpected_keys"]}
    )


def _completed(own: Mapping[str, Tensor], state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give each tied parameter that files leave out the value of its twin."""
    present = {id(tensor): state[key] for key, tensor in own.items() if key in state}
    return {
        key: present[id(tensor)] for key, tensor in own.items() if id(tensor) in present
    } | state


def _common(names: Collection[str], prefix: str) -> str:
    return prefix if names and all(name.startswith(prefix) for name in names) else ""
