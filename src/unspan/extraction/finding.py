"""Find the head of a model and its features: the layer whose output is the score, or the module
that was named.
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from unspan.errors import DataError, UsageError
from unspan.extraction.feature_layer import FeatureLayer, Pool
from unspan.extraction.layers import is_linear
from unspan.extraction.reading import describe, logits_of, read
from unspan.extraction.returned import tensors_in
from unspan.extraction.sites import absorbs, most_upstream
from unspan.extraction.tracing import Trace, trace_calls


def find_feature_layer(
    model: nn.Module,
    inputs: Any,
    feature_layer: str | None = None,
    pool: Pool | None = None,
    *,
    whole: bool = False,
    classes: int | None = None,
) -> tuple[FeatureLayer, list[str]]:
    """Find head, features and site of an (unwrapped, evaluation-mode) model from one small batch.

    Args:
        model: any module; hooks are removed again.
        inputs: a batch of one or more samples on the model's device.
        feature_layer: None to search; a head's name; `NAME:out` for the output of a module;
            `output` for an embedding model's own output, `output:KEY` for one entry of it.
        pool: needed when the features are tokens or maps.
        whole: the eraser needs one vector a sample, so it sits where the features are complete.
        classes: how many classes the labels of the data have, None where they have none.

    Returns:
        The feature layer and notices for the user.

    Raises:
        UsageError: no head or several, an unknown name, or features that need pooling.
        ModelError: the features cannot be mapped anywhere.
    """
    if pool not in (None, "cls", "mean", "gap", "last"):
        raise UsageError(f"pool='{pool}' is not cls, mean, gap or last.")
    trace = trace_calls(model, inputs)
    head, reads, output, key, notices = _locate(model, trace, feature_layer, classes)
    shift: tuple[float, ...] = ()
    if head is not None:
        pool = _token_pool(model, trace, head, pool)
        shift = _shift(model, trace, head, pool, classes)
    keyword = trace.keywords.get(head or "")
    draft = FeatureLayer(
        head, reads, output, key, pool, reads, not output, "last", 0, False, keyword=keyword
    )
    features, _ = read(model, draft, inputs)
    dim = features.shape[1]
    if not bool(features.any()):
        raise DataError(
            f"The features at {reads or 'the output'} are all zero on the first samples; wrong"
            " layer? Choose another with feature_layer=."
        )
    if head is not None:
        notices += _shared_with(trace, head)
    site, before, layout = most_upstream(model, inputs, trace, draft, features, whole=whole)
    affine = not before and not whole and absorbs(model, site, layout)
    found = FeatureLayer(
        head, reads, output, key, pool, site, before, layout, dim, affine, whole, keyword, shift
    )
    given = trace.linear[head][0] if before and head in trace.linear else None
    return replace(found, returned=_handed_out(trace, given)), notices


def _handed_out(trace: Trace, given: Tensor | None) -> tuple[tuple[str | int, ...], ...]:
    """Where the output holds the tensor that the head is given."""
    if given is None or isinstance(trace.output, Tensor):
        return ()
    return tuple(
        path
        for path, tensor in tensors_in(trace.output)
        if tensor is given or (tensor.shape == given.shape and torch.equal(tensor, given))
    )


def _locate(
    model: nn.Module, trace: Trace, feature_layer: str | None, classes: int | None
) -> tuple[str | None, str, bool, str | None, list[str]]:
    """Head, module to read, whether its output is read, dict key, notices."""
    if feature_layer is not None:
        return _named(model, trace, feature_layer)
    logits = logits_of(trace.output)
    if logits is None:
        heads = [name for name, (_, out) in trace.linear.items() if _in_output(out, trace.output)]
        if len(heads) == 1:
            return heads[0], heads[0], False, None, []
        hint = (
            f"Its linear heads: {', '.join(heads)}; pass feature_layer='{heads[0]}'."
            if heads
            else "Pass feature_layer='output:KEY' for one entry, with pool= if it holds tokens."
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
    _refuse_one_score(model, logits, matches, classes)
    if len(matches) == 1 or (matches and trace.linear[matches[-1]][1] is logits):
        return matches[-1], matches[-1], False, None, []
    if matches:
        raise UsageError(
            f"{len(matches)} layers of {type(model).__name__} give the scores:"
            f" {', '.join(matches)}. Choose one with feature_layer='{matches[-1]}'."
        )
    averaged = _averaged_heads(trace, logits)
    if averaged:
        raise UsageError(
            f"The scores of {type(model).__name__} mix several heads: {', '.join(averaged)}. Choose"
            f" one with feature_layer='{averaged[0]}'; the eraser sits before all that share its"
            f" features."
        )
    if logits.ndim != 2 and not (logits.ndim == 4 and logits.shape[2:] == (1, 1)):
        raise UsageError(
            f"No linear head found in {type(model).__name__}, and its output is {describe(logits)}."
            " Pass feature_layer='NAME' (head), feature_layer='NAME:out' (feature layer) or"
            " feature_layer='output' with"
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
            " more layers behind it, so no linear head reads pooled features. Pass"
            " feature_layer='NAME:out'"
            " with pool='gap' for a feature layer, or feature_layer='output' for an embedding"
            " model."
        )
    if classes is not None and logits.flatten(1).shape[1] == classes:
        raise UsageError(
            f"The output of {type(model).__name__} has {classes} numbers, one for each class of the"
            " data, and no linear layer gives them: the scores are changed behind the head, or the"
            " head is none. Name it with feature_layer='NAME', or pass feature_layer='output' if"
            " the output really is"
            " an embedding."
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
    model: nn.Module, trace: Trace, feature_layer: str
) -> tuple[str | None, str, bool, str | None, list[str]]:
    base, _, suffix = feature_layer.partition(":")
    if base == "output" and (suffix or "output" not in trace.calls):
        key = suffix or None
        if key is not None and (not hasattr(trace.output, "keys") or key not in trace.output):
            raise UsageError(
                f"feature_layer='{feature_layer}': the output of {type(model).__name__} is"
                f" {describe(trace.output)}; no"
                f" entry '{key}'."
            )
        return None, "", True, key, []
    names = dict(model.named_modules())
    if base not in names or suffix not in ("", "out"):
        close = difflib.get_close_matches(base, names, n=3, cutoff=0.4) or list(trace.linear)[-3:]
        raise UsageError(
            f"feature_layer='{feature_layer}': no module '{base}' in {type(model).__name__}."
            f" Close names:"
            f" {', '.join(close)}. A feature layer is a head's name, NAME:out, output, or"
            f" output:KEY."
        )
    if base not in trace.calls:
        raise UsageError(
            f"feature_layer='{feature_layer}': module '{base}' is never called in the forward"
            f" pass of"
            f" {type(model).__name__}."
        )
    if suffix == "out":
        return None, base, True, None, []
    if not is_linear(names[base]):
        raise UsageError(
            f"feature_layer='{feature_layer}': {type(names[base]).__name__} is not a linear head."
            f" For the output of"
            f" this module as features use feature_layer='{base}:out'."
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


def _refuse_one_score(
    model: nn.Module, logits: Tensor, matches: list[str], classes: int | None
) -> None:
    """One number a sample cannot name two classes by the largest (UsageError)."""
    if classes is None or logits.numel() != logits.shape[0]:
        return
    where = f" (head '{matches[-1]}')" if matches else ""
    raise UsageError(
        f"{type(model).__name__} gives one score a sample{where}, and the data have {classes}"
        " classes. Wrap it so that it gives a score for each class, for example [0, z] in place of"
        " z; or pass only the samples to forget, without labels, with method esc."
    )


def _token_pool(model: nn.Module, trace: Trace, head: str, pool: Pool | None) -> Pool | None:
    """`last` where the head scores every token and the model returns the scores of one of them.

    Raises:
        UsageError: another pooling was asked for than the scores are made of.
    """
    if head not in trace.linear:
        return pool
    scores, logits = trace.linear[head][1], logits_of(trace.output)
    if logits is None or not _picks_a_token(scores, logits):
        return pool
    if pool not in (None, "last"):
        raise UsageError(
            f"pool='{pool}': the scores of {type(model).__name__} are those of one token, the last"
            " one that is not padding. Leave pool out, or pass pool='last'."
        )
    return "last"


def _picks_a_token(scores: Tensor, logits: Tensor) -> bool:
    """Scores `[n, t, C]` of all tokens, of which the output `[n, C]` is one a sample."""
    if scores.ndim != 3 or logits.ndim != 2 or scores.shape[::2] != logits.shape:
        return False
    gap = (scores.float() - logits.float()[:, None]).abs().amax(2).amin(1)
    return bool((gap <= 1e-5 * logits.float().abs().max()).all())


def _shift(
    model: nn.Module, trace: Trace, head: str, pool: Pool | None, classes: int | None
) -> tuple[float, ...]:
    """What the model adds to each class behind the head, the same for all samples; empty for
    nothing.

    Raises:
        UsageError: the model's scores do not follow from those of the head.
    """
    logits = logits_of(trace.output)
    if head not in trace.linear or logits is None or pool == "last":
        return ()
    out = trace.linear[head][1]
    if out.shape[0] != logits.shape[0] or out.numel() != logits.numel():
        return ()  # a head of its own, beside the scores: named by the user
    if _follows(out, logits):
        return ()
    shift = _constant_shift(out, logits)
    if shift is not None:
        return tuple(shift.double().tolist())
    if classes is None:
        return ()
    raise UsageError(
        f"The scores of {type(model).__name__} are not those of '{head}': a layer behind it changes"
        " them sample by sample. Fold it into the head, or name another head with"
        " feature_layer='NAME'."
    )


def _constant_shift(out: Tensor, logits: Tensor) -> Tensor | None:
    """A vector added to every row, None where the rows differ; at least two rows tell."""
    gap = logits.flatten(1).float() - out.flatten(1).float()
    if len(gap) < 2 or float((gap - gap[0]).abs().max()) > 1e-4 * max(1.0, float(gap.abs().max())):
        return None
    return gap[0]


def _gives(out: Tensor, logits: Tensor) -> bool:
    """The head's output decides the model's: the same up to shape, softmax, sigmoid, temperature, a
    shift of each class, or the choice of one token.
    """
    return out is logits or _picks_a_token(out, logits) or _follows(out, logits, shifted=True)


def _follows(out: Tensor, logits: Tensor, shifted: bool = False) -> bool:
    if out is logits:
        return True
    if logits.ndim < 2 or out.numel() != logits.numel() or out.shape[0] != logits.shape[0]:
        return False
    a, b = out.flatten(1).float(), logits.flatten(1).float()
    if a.shape != b.shape:
        return False
    if a.shape[1] < 2:
        return torch.allclose(a, b, rtol=1e-4, atol=1e-6)
    if any(
        torch.allclose(f(a), b, rtol=1e-3, atol=1e-5)
        for f in (_same, partial(torch.softmax, dim=1), _log_softmax, torch.sigmoid)
    ):
        return True
    if shifted and _constant_shift(out, logits) is not None:
        return True
    if bool(
        (b.square().sum(1) - 1).abs().max() < 1e-4
    ):  # rows of unit length: a normalised embedding
        return False
    scale = (a * b).sum() / a.square().sum().clamp_min(1e-30)
    return bool(scale > 0) and torch.allclose(scale * a, b, rtol=1e-3, atol=1e-5)


def _same(scores: Tensor) -> Tensor:
    return scores


def _log_softmax(scores: Tensor) -> Tensor:
    return scores.log_softmax(1)


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
