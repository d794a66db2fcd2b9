"""Find the head of a model and its features: the layer whose output is the score, or the module
that was named.
"""

from __future__ import annotations

import difflib
from typing import Any

import torch
from torch import Tensor, nn

from unspan.errors import DataError, UsageError
from unspan.taps.reading import describe, logits_of, read
from unspan.taps.sites import absorbs, most_upstream
from unspan.taps.tap import Pool, Tap
from unspan.taps.tracing import Trace, is_linear, trace_calls


def find_tap(
    model: nn.Module,
    inputs: Any,
    tap: str | None = None,
    pool: Pool | None = None,
    *,
    whole: bool = False,
) -> tuple[Tap, list[str]]:
    """Find head, features and site of an (unwrapped, evaluation-mode) model from one small batch.

    Args:
        model: any module; hooks are removed again.
        inputs: a batch of one or more samples on the model's device.
        tap: None to search; a head's name; `NAME:out` for the output of a module; `output` for an
            embedding model's own output, `output:KEY` for one entry of it.
        pool: needed when the features are tokens or maps.
        whole: the eraser needs one vector a sample, so it sits where the features are complete.

    Returns:
        The tap and notices for the user.

    Raises:
        UsageError: no head or several, an unknown name, or features that need pooling.
        ModelError: the features cannot be mapped anywhere.
    """
    if pool not in (None, "cls", "mean", "gap"):
        raise UsageError(f"pool='{pool}' is not cls, mean or gap.")
    trace = trace_calls(model, inputs)
    head, reads, output, key, notices = _locate(model, trace, tap)
    draft = Tap(head, reads, output, key, pool, reads, not output, "last", 0, False)
    features, _ = read(model, draft, inputs)
    dim = features.shape[1]
    if not bool(features.any()):
        raise DataError(
            f"The features at {reads or 'the output'} are all zero on the first samples; wrong"
            " layer? Choose another with tap=."
        )
    if head is not None:
        notices += _shared_with(trace, head)
    site, before, layout = most_upstream(model, inputs, trace, draft, features, whole=whole)
    affine = not before and not whole and absorbs(model, site, layout)
    return Tap(head, reads, output, key, pool, site, before, layout, dim, affine, whole), notices


def _locate(
    model: nn.Module, trace: Trace, tap: str | None
) -> tuple[str | None, str, bool, str | None, list[str]]:
    """Head, module to read, whether its output is read, dict key, notices."""
    if tap is not None:
        return _named(model, trace, tap)
    logits = logits_of(trace.output)
    if logits is None:
        heads = [name for name, (_, out) in trace.linear.items() if _in_output(out, trace.output)]
        if len(heads) == 1:
            return heads[0], heads[0], False, None, []
        hint = (
            f"Its linear heads: {', '.join(heads)}; pass tap='{heads[0]}'."
            if heads
            else "Pass tap='output:KEY' for one entry, with pool= if it holds tokens or maps."
        )
        raise UsageError(
            f"{type(model).__name__} returns {describe(trace.output)}, not one tensor of scores."
            f" {hint}"
        )
    matches = [
        name
        for name, (_, out) in trace.linear.items()
        if trace.calls[name] == 1 and _gives(out, logits)
    ]
    if len(matches) == 1 or (matches and trace.linear[matches[-1]][1] is logits):
        return matches[-1], matches[-1], False, None, []
    if matches:
        raise UsageError(
            f"{len(matches)} layers of {type(model).__name__} give the scores:"
            f" {', '.join(matches)}. Choose one with tap='{matches[-1]}'."
        )
    averaged = _averaged_heads(trace, logits)
    if averaged:
        raise UsageError(
            f"The scores of {type(model).__name__} mix several heads: {', '.join(averaged)}. Choose"
            f" one with tap='{averaged[0]}'; the eraser sits before all that share its features."
        )
    if logits.ndim != 2 and not (logits.ndim == 4 and logits.shape[2:] == (1, 1)):
        raise UsageError(
            f"No linear head found in {type(model).__name__}, and its output is {describe(logits)}."
            " Pass tap='NAME' (head), tap='NAME:out' (feature layer) or tap='output' with"
            " pool='cls', 'mean' or 'gap'."
        )
    last = next(reversed(trace.linear), None)
    if (
        last is not None
        and isinstance(model.get_submodule(last), nn.Conv2d)
        and trace.linear[last][1].shape[1] == logits.shape[1]
    ):
        raise UsageError(
            f"The scores of {type(model).__name__} come from a convolution head ('{last}') with"
            " more layers behind it, so no linear head reads pooled features. Pass tap='NAME:out'"
            " with pool='gap' for a feature layer, or tap='output' for an embedding model."
        )
    return (
        None,
        "",
        True,
        None,
        [
            f"no linear head gives the output of {type(model).__name__}: treated as an embedding"
            " model (features = output; vectors of unit length are shorter after erasing)"
        ],
    )


def _named(
    model: nn.Module, trace: Trace, tap: str
) -> tuple[str | None, str, bool, str | None, list[str]]:
    base, _, suffix = tap.partition(":")
    if base == "output" and (suffix or "output" not in trace.calls):
        key = suffix or None
        if key is not None and (not hasattr(trace.output, "keys") or key not in trace.output):
            raise UsageError(
                f"tap='{tap}': the output of {type(model).__name__} is {describe(trace.output)}; no"
                f" entry '{key}'."
            )
        return None, "", True, key, []
    names = dict(model.named_modules())
    if base not in names or suffix not in ("", "out"):
        close = difflib.get_close_matches(base, names, n=3, cutoff=0.4) or list(trace.linear)[-3:]
        raise UsageError(
            f"tap='{tap}': no module '{base}' in {type(model).__name__}. Close names:"
            f" {', '.join(close)}. A tap is a head's name, NAME:out, output, or output:KEY."
        )
    if base not in trace.calls:
        raise UsageError(
            f"tap='{tap}': module '{base}' is never called in the forward pass of"
            f" {type(model).__name__}."
        )
    if suffix == "out":
        return None, base, True, None, []
    if not is_linear(names[base]):
        raise UsageError(
            f"tap='{tap}': {type(names[base]).__name__} is not a linear head. For the output of"
            f" this module as features use tap='{base}:out'."
        )
    return base, base, False, None, []


def _in_output(out: Tensor, output: Any) -> bool:
    values = (
        output.values()
        if hasattr(output, "values")
        else output
        if isinstance(output, (tuple, list))
        else ()
    )
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
    if any(
        torch.allclose(f(a), b, rtol=1e-3, atol=1e-5)
        for f in (lambda v: v, lambda v: v.softmax(1), lambda v: v.log_softmax(1))
    ):
        return True
    if bool(
        (b.square().sum(1) - 1).abs().max() < 1e-4
    ):  # rows of unit length: a normalised embedding
        return False
    scale = (a * b).sum() / a.square().sum().clamp_min(1e-30)
    return bool(scale > 0) and torch.allclose(scale * a, b, rtol=1e-3, atol=1e-5)


def _averaged_heads(trace: Trace, logits: Tensor) -> list[str]:
    """Two or more linear layers of the width of the scores whose mean is the scores."""
    same = [name for name, (_, out) in trace.linear.items() if out.shape == logits.shape]
    if len(same) < 2:
        return []
    mean = torch.stack([trace.linear[name][1] for name in same]).mean(0)
    return same if torch.allclose(mean.float(), logits.float(), rtol=1e-3, atol=1e-5) else []


def _shared_with(trace: Trace, head: str) -> list[str]:
    others = [
        name
        for name, (given, _) in trace.linear.items()
        if name != head and head in trace.linear and given is trace.linear[head][0]
    ]
    return [f"the features also feed {', '.join(others)}: changed as well"] if others else []
