"""Where the features of a model are: its head, or the output that was named or that it returns."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from torch import Tensor, nn

from unspan.errors import UsageError
from unspan.extraction.layers import is_linear
from unspan.extraction.reading import describe, logits_of
from unspan.extraction.score_relations import averaged_heads, decides, is_returned
from unspan.extraction.tracing import Trace
from unspan.models.libraries import is_sentence_transformer

EMBEDDING = "sentence_embedding"  # entry of the output of a `SentenceTransformer`


@dataclass(frozen=True)
class Located:
    """Where features are read; the fields are those of `FeatureLayer`.

    Attributes:
        head: name of the head, None without one.
        reads: module whose input (head) or output is the feature; "" is the model.
        output: features are an output rather than the head's input.
        key: entry of a dict-like output.
        scores: the output is class scores, as many as the data have classes.
        notices: for the user.
    """

    head: str | None
    reads: str
    output: bool
    key: str | None = None
    scores: bool = False
    notices: tuple[str, ...] = ()


def locate(
    model: nn.Module,
    trace: Trace,
    feature_layer: str | None,
    classes: int | None,
    *,
    scores_suffice: bool = False,
) -> Located:
    """The head and the features of a model, by what one forward pass showed.

    Args:
        model: that was traced.
        trace: of the pass.
        feature_layer: name given by the user, None to search.
        classes: of the data, None where they have none.
        scores_suffice: as many scores as classes are enough where no linear layer gives them.

    Raises:
        UsageError: no head or several, or an unknown name.
    """
    if feature_layer in (None, "output") and is_sentence_transformer(model):
        return Located(None, "", True, EMBEDDING)
    if feature_layer is not None:
        return _named(model, trace, feature_layer)
    scores = logits_of(trace.output)
    if scores is None:
        return _only_head_returned(model, trace)
    heads = [name for name, (_, out) in trace.linear.items() if _gives(trace, name, out, scores)]
    _refuse_one_score(model, scores, heads, classes)
    if len(heads) == 1 or (heads and trace.linear[heads[-1]][1] is scores):
        return _at_head(heads[-1])
    if heads:
        raise UsageError(
            f"{len(heads)} layers of {type(model).__name__} give the scores: {', '.join(heads)}."
            f" Choose one with feature_layer='{heads[-1]}'."
        )
    if scores_suffice and scores.ndim == 2 and scores.shape[1] == classes:
        return _of_scores(model, classes)
    _refuse_hidden_heads(model, trace, scores, classes)
    notice = (
        f"no linear head gives the output of {type(model).__name__}: treated as an embedding model"
        " (features = output; a projection such as esc makes vectors of unit length shorter)"
    )
    return Located(None, "", True, notices=(notice,))


def _of_scores(model: nn.Module, classes: int) -> Located:
    notice = (
        f"no linear layer gives the output of {type(model).__name__}: its {classes} numbers are"
        f" taken for class scores, since the data have {classes} classes; if they are an"
        " embedding, pass feature_layer='output' (--feature-layer output)"
    )
    return Located(None, "", True, scores=True, notices=(notice,))


def _at_head(name: str) -> Located:
    return Located(name, name, False)


def _gives(trace: Trace, name: str, out: Tensor, scores: Tensor) -> bool:
    return trace.calls[name] == 1 and decides(out, scores)


def _only_head_returned(model: nn.Module, trace: Trace) -> Located:
    """The one linear layer whose output is among those of a model that returns several."""
    heads = [name for name, (_, out) in trace.linear.items() if is_returned(out, trace.output)]
    if len(heads) == 1:
        return _at_head(heads[0])
    hint = "Pass feature_layer='output:KEY' for one entry, with pool= if it holds tokens."
    if heads:
        hint = f"Its linear heads: {', '.join(heads)}; pass feature_layer='{heads[0]}'."
    raise UsageError(
        f"{type(model).__name__} returns {describe(trace.output)}, not one tensor of scores. {hint}"
    )


def _refuse_one_score(
    model: nn.Module, scores: Tensor, heads: list[str], classes: int | None
) -> None:
    """One number a sample cannot name two classes by the largest (UsageError)."""
    if classes is None or scores.numel() != scores.shape[0]:
        return
    where = f" (head '{heads[-1]}')" if heads else ""
    raise UsageError(
        f"{type(model).__name__} gives one score a sample{where}, and the data have {classes}"
        " classes. Wrap it so that it gives a score for each class, for example [0, z] in place of"
        " z; or pass only the samples to forget, without labels, with method esc."
    )


def _refuse_hidden_heads(
    model: nn.Module, trace: Trace, scores: Tensor, classes: int | None
) -> None:
    """Refuse outputs that are scores, though no linear layer gives them (UsageError)."""
    kind = type(model).__name__
    averaged = averaged_heads(trace, scores)
    if averaged:
        raise UsageError(
            f"The scores of {kind} mix several heads: {', '.join(averaged)}. Choose one with"
            f" feature_layer='{averaged[0]}'; the eraser sits before all that share its features."
        )
    if scores.ndim != 2 and not (scores.ndim == 4 and scores.shape[2:] == (1, 1)):
        raise UsageError(
            f"No linear head found in {kind}, and its output is {describe(scores)}. Pass"
            " feature_layer='NAME' (head), feature_layer='NAME:out' (feature layer) or"
            " feature_layer='output' with pool='cls', 'mean' or 'gap'."
        )
    last = next(reversed(trace.linear), None)
    if last is not None and _is_convolution_head(model, trace, last, scores):
        raise UsageError(
            f"The scores of {kind} come from a convolution head ('{last}') with more layers behind"
            " it, so no linear head reads pooled features. Pass feature_layer='NAME:out' with"
            " pool='gap' for a feature layer, or feature_layer='output' for an embedding model."
        )
    if classes is not None and scores.flatten(1).shape[1] == classes:
        raise UsageError(
            f"The output of {kind} has {classes} numbers, one for each class of the data, and no"
            " linear layer gives them: the scores are changed behind the head, or the head is none."
            " Name it with feature_layer='NAME', or pass feature_layer='output' if the output"
            " really is an embedding; or choose a method that changes weights (unspan methods),"
            " which needs no head."
        )


def _is_convolution_head(model: nn.Module, trace: Trace, name: str, scores: Tensor) -> bool:
    is_convolution = isinstance(model.get_submodule(name), nn.Conv2d)
    return is_convolution and trace.linear[name][1].shape[1] == scores.shape[1]


def _named(model: nn.Module, trace: Trace, feature_layer: str) -> Located:
    """The head or feature layer that the user named.

    Raises:
        UsageError: there is no such module or entry, it is never called, or it is not linear.
    """
    base, _, suffix = feature_layer.partition(":")
    kind = type(model).__name__
    if base == "output" and (suffix or "output" not in trace.calls):
        key = suffix or None
        if key is not None and (not hasattr(trace.output, "keys") or key not in trace.output):
            raise UsageError(
                f"feature_layer='{feature_layer}': the output of {kind} is"
                f" {describe(trace.output)}; no entry '{key}'."
            )
        return Located(None, "", True, key)
    names = dict(model.named_modules())
    if base not in names or suffix not in ("", "out"):
        close = difflib.get_close_matches(base, names, n=3, cutoff=0.4) or list(trace.linear)[-3:]
        raise UsageError(
            f"feature_layer='{feature_layer}': no module '{base}' in {kind}. Close names:"
            f" {', '.join(close)}. A feature layer is a head's name, NAME:out, output, or"
            " output:KEY."
        )
    if base not in trace.calls:
        raise UsageError(
            f"feature_layer='{feature_layer}': module '{base}' is never called in the forward pass"
            f" of {kind}."
        )
    if suffix == "out":
        return Located(None, base, True)
    if not is_linear(names[base]):
        raise UsageError(
            f"feature_layer='{feature_layer}': {type(names[base]).__name__} is not a linear head."
            f" For the output of this module as features use feature_layer='{base}:out'."
        )
    return _at_head(base)
