"""Find where the penultimate features of a model live, read them, and place an eraser there.

This is the only file with hooks. A `Tap` names three things:

- the *head*: the last linear layer, whose input are the features (none in an embedding model);
- where features are *read*: the head's input, or the output of a named module or of the model;
- the *site*: the most upstream module whose output can be mapped instead, exactly. A candidate passes when a
  random linear map applied to its output appears unchanged at the features: everything in between (pooling,
  choosing a token, dropout) then commutes with every linear map. Placing the eraser there covers whoever
  removes the head, hooks a later layer, or asks for the unpooled map.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unspan.erasers import Eraser, Layout, placed
from unspan.errors import DataError, ModelError, UnspanError, UsageError

Pool = Literal["cls", "mean", "gap"]
CHILD = "unspan"  # name of the eraser inside the module that carries it
_PATIENCE = 4  # candidates that may fail in a row before the search for a more upstream site stops


def _compile_with_hooks() -> None:
    """Make `torch.compile` look at hooks: by default a graph compiled for the original model is run for a copy
    that differs by a hook only, and an eraser would be skipped. Graphs compiled before are dropped, once.
    """
    import torch._dynamo.config as config

    if config.skip_nnmodule_hook_guards:
        config.skip_nnmodule_hook_guards = False
        torch.compiler.reset()


_compile_with_hooks()


@dataclass(frozen=True)
class Tap:
    """Where features are read and erased. Names are module paths; "" is the model itself.

    Attributes:
        head: the linear head, or None.
        reads: module whose input (head) or output (`output=True`) is the feature.
        output: features are an output rather than the head's input.
        key: entry of a dict-like output.
        pool: how tokens or maps become one vector a sample, when they are not already.
        site: module at which the eraser sits; its output, or its input when `before`.
        before: the site is the head itself and the eraser runs on its input (no module output qualified).
        layout: which axis of the site's tensor holds the features.
        dim: d.
        affine: the site is a linear or convolution layer whose weights can absorb the map.
    """

    head: str | None
    reads: str
    output: bool
    key: str | None
    pool: Pool | None
    site: str
    before: bool
    layout: Layout
    dim: int
    affine: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON form, stored in receipts."""
        return asdict(self)


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside `torch.compile` and `DataParallel` wrappers."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def forward(model: nn.Module, inputs: Any) -> Any:
    """Call the model on a tensor, a tuple of arguments, or a dict of keyword arguments.

    Raises:
        UsageError: the call fails; names the model and what its forward takes.
    """
    try:
        if isinstance(inputs, dict):
            return model(**inputs)
        return model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)
    except (UnspanError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if "allocate memory" in str(error):
            raise
        raise UsageError(_forward_message(model, inputs, error)) from error


def _forward_message(model: nn.Module, inputs: Any, error: Exception) -> str:
    import inspect

    line = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
    signature = inspect.signature(type(model).forward)
    return f"{type(model).__name__}.forward{signature} failed on {describe(inputs)}: {line}. Give batches its forward accepts (a tensor, a tuple, or a dict of keyword arguments)."


def describe(value: Any) -> str:
    """Short text for tensors and containers of tensors, for messages."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, dict) or hasattr(value, "keys"):
        return "{" + ", ".join(f"{key}: {describe(value[key])}" for key in value.keys()) + "}"  # noqa: SIM118
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(map(describe, value)) + ")"
    return type(value).__name__


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every module's flag is put back as it was, even on errors."""
    flags = [(module, module.training) for module in model.modules()]
    try:
        with torch.no_grad():
            model.eval()
            yield
    finally:
        for module, flag in flags:
            module.training = flag


# ---- reading -------------------------------------------------------------------------------------------------


def read(model: nn.Module, tap: Tap, inputs: Any) -> tuple[Tensor, Any]:
    """One forward pass: features `[n, d]` at the tap, and the model's output."""
    seen: list[Any] = []
    module = model.get_submodule(tap.reads)
    if tap.output:
        handle = module.register_forward_hook(lambda _m, _a, out: seen.append(out))
    else:
        handle = module.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    try:
        output = forward(model, inputs)
    finally:
        handle.remove()
    return pooled(seen[0] if tap.key is None else seen[0][tap.key], tap.pool), output


def pooled(z: Any, pool: Pool | None) -> Tensor:
    """Features as `[n, d]`: tokens by `cls` or `mean`, maps by `gap`; trailing 1x1 axes are dropped.

    Raises:
        UsageError: several vectors a sample and no pooling chosen; never flattened in silence.
    """
    if not isinstance(z, Tensor):
        raise UsageError(f"The tap gives {describe(z)}, not one tensor. Name an entry, tap='output:KEY', or another module with tap=.")
    if z.ndim > 2 and z[0, 0].numel() == 1:
        z = z.flatten(1)
    if z.ndim == 3 and pool in ("cls", "mean"):
        return z[:, 0] if pool == "cls" else z.mean(1)
    if z.ndim == 4 and pool in ("gap", "mean"):
        return z.mean((2, 3))
    if z.ndim != 2:
        raise UsageError(f"The features are {describe(z)}, more than one vector a sample. Choose pool='cls', 'mean' (tokens) or 'gap' (maps), or another tap=.")
    return z


def logits_of(output: Any) -> Tensor | None:
    """The class scores `[n, C]` in a model output, or None when there is no single one."""
    if isinstance(output, Tensor):
        return output
    if getattr(output, "logits", None) is not None:
        return output.logits
    if isinstance(output, dict) and isinstance(output.get("logits"), Tensor):
        return output["logits"]
    return None


# ---- finding -------------------------------------------------------------------------------------------------


@dataclass
class _Trace:
    """What one forward pass showed of each called module."""

    calls: dict[str, int]
    finished: list[str]  # in order of completion
    shapes: dict[str, torch.Size]
    linear: dict[str, tuple[Tensor, Tensor]]  # name -> input, output of layers that can be a head
    output: Any


def _trace(model: nn.Module, inputs: Any) -> _Trace:
    trace = _Trace({}, [], {}, {}, None)

    def after(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            trace.calls[name] = trace.calls.get(name, 0) + 1
            trace.finished.append(name)
            if isinstance(output, Tensor):
                trace.shapes[name] = output.shape
                if args and isinstance(args[0], Tensor) and _is_linear(module):
                    trace.linear[name] = (args[0], output)
                    while len(trace.linear) > 8:  # a head is among the last; earlier activations are let go
                        del trace.linear[next(iter(trace.linear))]

        return hook

    with ExitStack() as stack:
        for name, module in model.named_modules():
            stack.callback(module.register_forward_hook(after(name)).remove)
        trace.output = forward(model, inputs)
    return trace


def _is_linear(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.groups == 1
    return isinstance(module, nn.Linear) or (
        isinstance(weight, Tensor) and weight.ndim == 2 and not isinstance(module, (nn.Embedding, nn.EmbeddingBag))
    )


def find_tap(model: nn.Module, inputs: Any, tap: str | None = None, pool: Pool | None = None) -> tuple[Tap, list[str]]:
    """Find head, features and site of an (unwrapped, evaluation-mode) model from one small batch.

    Args:
        model: any module; hooks are removed again.
        inputs: a batch of one or more samples on the model's device.
        tap: None to search; a head's name; `NAME:out` for the output of a module; `output` for an embedding
            model's own output, `output:KEY` for one entry of it.
        pool: needed when the features are tokens or maps.

    Returns:
        The tap and notices for the user.

    Raises:
        UsageError: no head or several, an unknown name, or features that need pooling.
        ModelError: the features cannot be mapped anywhere.
    """
    trace = _trace(model, inputs)
    head, reads, output, key, notices = _locate(model, trace, tap)
    draft = Tap(head, reads, output, key, pool, reads, not output, "last", 0, False)
    features, _ = read(model, draft, inputs)
    dim = features.shape[1]
    if not bool(features.any()):
        raise DataError(f"The features at {reads or 'the output'} are all zero on the first samples; wrong layer? Choose another with tap=.")
    if head is not None:
        notices += _shared_with(trace, head)
    site, before, layout = _most_upstream(model, inputs, trace, draft, features)
    affine = not before and _absorbs(model, site, layout)
    return Tap(head, reads, output, key, pool, site, before, layout, dim, affine), notices


def _locate(model: nn.Module, trace: _Trace, tap: str | None) -> tuple[str | None, str, bool, str | None, list[str]]:
    """Head, module to read, whether its output is read, dict key, notices."""
    if tap is not None:
        return _named(model, trace, tap)
    logits = logits_of(trace.output)
    if logits is None:
        heads = [name for name, (_, out) in trace.linear.items() if _in_output(out, trace.output)]
        if len(heads) == 1:
            return heads[0], heads[0], False, None, []
        hint = f"Its linear heads: {', '.join(heads)}; pass tap='{heads[0]}'." if heads else "Pass tap='output:KEY' for one entry, with pool= if it holds tokens or maps."
        raise UsageError(f"{type(model).__name__} returns {describe(trace.output)}, not one tensor of scores. {hint}")
    matches = [name for name, (_, out) in trace.linear.items() if trace.calls[name] == 1 and _gives(out, logits)]
    if len(matches) == 1 or (matches and trace.linear[matches[-1]][1] is logits):
        return matches[-1], matches[-1], False, None, []
    if matches:
        raise UsageError(f"{len(matches)} layers of {type(model).__name__} give the scores: {', '.join(matches)}. Choose one with tap='{matches[-1]}'.")
    averaged = _averaged_heads(trace, logits)
    if averaged:
        raise UsageError(f"The scores of {type(model).__name__} mix several heads: {', '.join(averaged)}. Choose one with tap='{averaged[0]}'; the eraser sits before all that share its features.")
    if logits.ndim != 2 and not (logits.ndim == 4 and logits.shape[2:] == (1, 1)):
        raise UsageError(f"No linear head found in {type(model).__name__}, and its output is {describe(logits)}. Pass tap='NAME' (head), tap='NAME:out' (feature layer) or tap='output' with pool='cls', 'mean' or 'gap'.")
    last = next(reversed(trace.linear), None)
    if last is not None and isinstance(model.get_submodule(last), nn.Conv2d) and trace.linear[last][1].shape[1] == logits.shape[1]:
        raise UsageError(f"The scores of {type(model).__name__} come from a convolution head ('{last}') with more layers behind it, so no linear head reads pooled features. Pass tap='NAME:out' with pool='gap' for a feature layer, or tap='output' for an embedding model.")
    return None, "", True, None, [f"no linear head gives the output of {type(model).__name__}: treated as an embedding model (features = output; vectors of unit length are shorter after erasing)"]


def _named(model: nn.Module, trace: _Trace, tap: str) -> tuple[str | None, str, bool, str | None, list[str]]:
    base, _, suffix = tap.partition(":")
    if base == "output" and (suffix or "output" not in trace.calls):
        key = suffix or None
        if key is not None and (not hasattr(trace.output, "keys") or key not in trace.output):
            raise UsageError(f"tap='{tap}': the output of {type(model).__name__} is {describe(trace.output)}; no entry '{key}'.")
        return None, "", True, key, []
    names = dict(model.named_modules())
    if base not in names or suffix not in ("", "out"):
        close = difflib.get_close_matches(base, names, n=3, cutoff=0.4) or list(trace.linear)[-3:]
        raise UsageError(f"tap='{tap}': no module '{base}' in {type(model).__name__}. Close names: {', '.join(close)}. A tap is a head's name, NAME:out, output, or output:KEY.")
    if base not in trace.calls:
        raise UsageError(f"tap='{tap}': module '{base}' is never called in the forward pass of {type(model).__name__}.")
    if suffix == "out":
        return None, base, True, None, []
    if not _is_linear(names[base]):
        raise UsageError(f"tap='{tap}': {type(names[base]).__name__} is not a linear head. For the output of this module as features use tap='{base}:out'.")
    return base, base, False, None, []


def _in_output(out: Tensor, output: Any) -> bool:
    values = output.values() if hasattr(output, "values") else output if isinstance(output, (tuple, list)) else ()
    return any(out is value for value in values)


def _gives(out: Tensor, logits: Tensor) -> bool:
    """The head's output is the model's, up to shape, softmax, log-softmax or one temperature."""
    if out is logits:
        return True
    if out.numel() != logits.numel() or out.shape[0] != logits.shape[0]:
        return False
    a, b = out.flatten(1).float(), logits.flatten(1).float()
    if a.shape[1] < 2:
        return torch.allclose(a, b, rtol=1e-4, atol=1e-6)
    if any(torch.allclose(f(a), b, rtol=1e-3, atol=1e-5) for f in (lambda v: v, lambda v: v.softmax(1), lambda v: v.log_softmax(1))):
        return True
    if bool((b.square().sum(1) - 1).abs().max() < 1e-4):  # rows of unit length: a normalised embedding
        return False
    scale = (a * b).sum() / a.square().sum().clamp_min(1e-30)
    return bool(scale > 0) and torch.allclose(scale * a, b, rtol=1e-3, atol=1e-5)


def _averaged_heads(trace: _Trace, logits: Tensor) -> list[str]:
    """Two or more linear layers of the width of the scores whose mean is the scores."""
    same = [name for name, (_, out) in trace.linear.items() if out.shape == logits.shape]
    if len(same) < 2:
        return []
    mean = torch.stack([trace.linear[name][1] for name in same]).mean(0)
    return same if torch.allclose(mean.float(), logits.float(), rtol=1e-3, atol=1e-5) else []


def _shared_with(trace: _Trace, head: str) -> list[str]:
    others = [name for name, (given, _) in trace.linear.items() if name != head and head in trace.linear and given is trace.linear[head][0]]
    return [f"the features also feed {', '.join(others)}: changed as well"] if others else []


def _most_upstream(model: nn.Module, inputs: Any, trace: _Trace, tap: Tap, features: Tensor) -> tuple[str, bool, Layout]:
    """Walk back from the features through finished modules, as long as random linear maps arrive unchanged."""
    dim = features.shape[1]
    generator = torch.Generator().manual_seed(0)
    random = torch.eye(dim) + 0.5 * torch.randn(dim, dim, generator=generator) / dim**0.5
    matrix = random.to(features.device, features.dtype)
    end = trace.finished.index(tap.reads) + (1 if tap.output else 0)
    best: tuple[str, bool, Layout] | None = None if tap.output else (tap.reads, True, _input_layout(trace, tap))
    failures = 0
    for name in reversed(trace.finished[:end]):
        if failures >= _PATIENCE:
            break
        module = model.get_submodule(name)
        if trace.calls[name] != 1 or name not in trace.shapes or isinstance(module, (nn.Sequential, nn.ModuleList)):
            continue
        layout = next((option for option in _layouts(trace.shapes[name], dim) if _arrives(model, inputs, tap, name, option, matrix, features)), None)
        if layout is None:
            failures += 1
        else:
            best, failures = (name, False, layout), 0
    if best is None:
        raise ModelError(f"No module output of {type(model).__name__} carries the features at '{tap.reads or 'output'}' unchanged. Pass tap='NAME:out' for a module that returns them as one tensor.")
    return best


def _input_layout(trace: _Trace, tap: Tap) -> Layout:
    given = trace.linear[tap.reads][0] if tap.reads in trace.linear else None
    return "channels" if given is not None and given.ndim == 4 else "last"


def _layouts(shape: torch.Size, dim: int) -> Iterator[Layout]:
    if len(shape) >= 2 and shape[-1] == dim:
        yield "last"
    if len(shape) >= 3 and shape[1] == dim:
        yield "channels"
    if len(shape) > 2 and shape[1:].numel() == dim:
        yield "flat"


def _arrives(model: nn.Module, inputs: Any, tap: Tap, name: str, layout: Layout, matrix: Tensor, features: Tensor) -> bool:
    from unspan.erasers import LinearMap

    probe = LinearMap(matrix, layout)
    handle = model.get_submodule(name).register_forward_hook(lambda _m, _a, out: probe(out), prepend=True)
    try:
        mapped, _ = read(model, tap, inputs)
    except UsageError:
        return False
    finally:
        handle.remove()
    expected = features @ matrix.mT
    tolerance = 1e-4 if features.dtype in (torch.float32, torch.float64) else 3e-2
    return mapped.shape == expected.shape and bool((mapped - expected).abs().max() <= tolerance * expected.abs().max())


# ---- placing -------------------------------------------------------------------------------------------------


def _erase_output(module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> Tensor:
    return module._modules[CHILD](output)  # type: ignore[misc]


def _erase_input(eraser: Eraser, _module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (eraser(args[0]), *args[1:])


def _guard_head(path: str, carrier: nn.Module, _args: tuple[Any, ...]) -> None:
    """Give a head that was replaced (by `nn.Identity()`, say) the eraser before it is called."""
    head = carrier.get_submodule(path)
    if not any(_is_ours(hook) for hook in head._forward_pre_hooks.values()):
        head.register_forward_pre_hook(partial(_erase_input, carrier.get_submodule(CHILD)), prepend=True)


def _is_ours(hook: Any) -> bool:
    return hook is _erase_output or getattr(hook, "func", None) in (_erase_input, _guard_head)


def _carrier(model: nn.Module, tap: Tap) -> tuple[str, str]:
    """The module that holds the eraser, and the path from it to the hooked module.

    An eraser on a head's input is held by the nearest ancestor that is not a `Sequential` (whose children are
    its program), so that it outlives a replaced head.
    """
    if not tap.before:
        return tap.site, ""
    parts = tap.site.split(".")
    for cut in range(len(parts) - 1, -1, -1):
        if not isinstance(model.get_submodule(".".join(parts[:cut])), nn.Sequential):
            return ".".join(parts[:cut]), ".".join(parts[cut:])
    return tap.site, ""


def attach(model: nn.Module, tap: Tap, eraser: Eraser) -> None:
    """Place an eraser at the site, as a child module that moves, casts, copies and saves with the model."""
    name, path = _carrier(model, tap)
    carrier, site = model.get_submodule(name), model.get_submodule(tap.site)
    like = next((p for p in (*site.parameters(), *model.parameters()) if p.is_floating_point()), torch.zeros(()))
    eraser = placed(eraser, tap.layout, like)
    carrier.add_module(CHILD, eraser)
    if not tap.before:
        site.register_forward_hook(_erase_output, prepend=True)
        return
    site.register_forward_pre_hook(partial(_erase_input, eraser), prepend=True)
    if path:
        carrier.register_forward_pre_hook(partial(_guard_head, path), prepend=True)


def detach(model: nn.Module, tap: Tap) -> None:
    """Take the eraser away from the site again."""
    carrier = model.get_submodule(_carrier(model, tap)[0])
    for module in (carrier, model.get_submodule(tap.site)):
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key in [key for key, hook in hooks.items() if _is_ours(hook)]:
                del hooks[key]
    delattr(carrier, CHILD)


def _absorbs(model: nn.Module, name: str, layout: Layout) -> bool:
    """The site is an affine layer that can take the map into its own weights: same keys, no extra layer."""
    site = model.get_submodule(name)
    plain = type(site) is nn.Linear and layout == "last" or type(site) is nn.Conv2d and layout == "channels" and site.groups == 1
    return plain and is_own_weight(model, site)


def is_own_weight(model: nn.Module, module: nn.Module) -> bool:
    """The module's weight is a plain parameter that no other module uses (not tied, not reparametrised)."""
    weight = module._parameters.get("weight")
    owners = sum(1 for other in model.modules() for value in other._parameters.values() if value is weight)
    return weight is not None and owners == 1


def head_parameters(model: nn.Module, tap: Tap) -> tuple[Tensor, Tensor] | None:
    """Weight `[C, d]` and bias `[C]` of the head in float64 on the CPU, or None without a head."""
    if tap.head is None:
        return None
    head = model.get_submodule(tap.head)
    weight = head.weight.detach().double().cpu().flatten(1)
    bias = getattr(head, "bias", None)
    return weight, torch.zeros(len(weight), dtype=torch.float64) if bias is None else bias.detach().double().cpu()
