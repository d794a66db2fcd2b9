"""What a deletion costs the others, and whether it did anything: measured on the same samples
before and after, and decided by the lower end of an interval.

Collateral damage is the accuracy that classes to keep lose. It is measured on retained samples that
a method which trains did not see, so that what it learned by heart does not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from scipy.stats import beta
from torch import Tensor, nn
from torch.utils.data import Subset

from unspan.errors import InconclusiveError, UsageError
from unspan.evaluate import interval
from unspan.run import Batch, Run, batches
from unspan.samples import generator
from unspan.splits import Splits, labels_of
from unspan.taps import Tap, arranged, eval_mode, forward, logits_of, read

ALPHA = 0.05  # of the decision as a whole
SAMPLES = 2000  # retained samples, and as many to forget at most
_PER_CLASS = 20  # retained samples of each class at least, where there are so many
_MOST = 10_000  # retained samples, whatever the number of classes
_FEWEST = 200  # retained samples from which some are held out of a training
_HELD_OUT = 0.1  # share of them
CLASS_POINTS, SAMPLE_POINTS = 3.0, 2.0  # largest loss by default, in points


@dataclass(frozen=True, kw_only=True)
class Change:
    """Accuracy of two models on the same samples; shares in [0, 1].

    Attributes:
        what: which samples.
        label: their class, None where there are several.
        n: how many.
        before: accuracy of the original.
        after: accuracy of the erased model.
        low: lower end of the 95 % Clopper-Pearson interval of `after`.
        high: its upper end.
        loss_low: lower 95 % bound of the accuracy lost, corrected over the classes compared.
    """

    what: str
    label: int | None
    n: int
    before: float
    after: float
    low: float
    high: float
    loss_low: float


def loss_bound(lost: int, gained: int, n: int, alpha: float) -> float:
    """Lower bound of the accuracy lost between two models, with error at most `alpha`.

    Exact: the lower Clopper-Pearson bound of the share of samples that turned wrong, minus the
    upper one of the share that turned right, each at half of `alpha`.

    Args:
        lost: samples that were right before and are wrong after.
        gained: samples that were wrong before and are right after.
        n: all samples.
        alpha: error of the bound.

    >>> loss_bound(30, 0, 40, 0.05) > 0.5, loss_bound(1, 1, 40, 0.05) < 0
    (True, True)
    """
    low = float(beta.ppf(alpha / 2, lost, n - lost + 1)) if lost else 0.0
    high = float(beta.ppf(1 - alpha / 2, gained + 1, n - gained)) if gained < n else 1.0
    return low - high


def check_limit(limit: float | None) -> None:
    """Refuse a limit that is no number of points (UsageError)."""
    if limit is None or (isinstance(limit, (int, float)) and 0 <= limit <= 100):
        return
    raise UsageError(
        f"max_drop={limit!r}: give points of accuracy from 0 to 100, or None (--max-drop none) to"
        " accept any loss."
    )


def held_out(splits: Splits, run: Run, trains: bool) -> tuple[Splits, Any]:
    """The request, and retained samples on which damage is measured.

    A method that trains does not get these samples. Nothing is held out of fewer than 200 retained
    samples; those are measured on as they are.
    """
    chosen = sampled(splits.retain, run, share=_HELD_OUT) if trains else None
    if chosen is None or len(splits.retain) < _FEWEST:
        return splits, sampled(splits.retain, run)
    gone = set(chosen.indices)
    rest = [i for i in range(len(splits.retain)) if i not in gone]
    return replace(splits, retain=Subset(splits.retain, rest)), chosen


def sampled(data: Any, run: Run, share: float = 1.0) -> Subset[Any] | None:
    """A random part of labelled data with some of every class; None where labels are not known."""
    try:
        labels = torch.tensor(labels_of(data))
    except UsageError:
        return None
    if len(labels) == 0 or int(labels.min()) < 0:
        return None
    order = torch.randperm(len(labels), generator=generator(run.seed, "guard", len(labels)))
    kinds, counts = labels.unique(return_counts=True)
    each = max(_PER_CLASS, SAMPLES // len(kinds))
    chosen: list[int] = []
    for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True):
        own = order[labels[order] == kind]
        chosen += own[: min(each, max(1, int(share * count)))].tolist()
    return Subset(data, sorted(chosen[:_MOST]))


def measure(
    original: nn.Module, erased: nn.Module, tap: Tap, splits: Splits, kept: Any, run: Run
) -> dict[str, Any]:
    """Rows for the samples to forget, the retained ones, and the class that lost most.

    Args:
        original: before.
        erased: after.
        tap: where features are; without a head the model gives embeddings, no scores.
        splits: the request.
        kept: retained samples to measure on, None where there are none with labels.
        run: batch size, progress.

    Returns:
        JSON-ready: `forget`, `retain` and `worst`, each a `Change` or None, and `unit`: what a
        share is of (`accuracy`, or `rank-1` for embedding models).
    """
    unit = "accuracy"
    rows: dict[str, Change | None] = {"forget": None, "retain": None, "worst": None}
    forget = _first(splits.forget)
    if forget is not None and tap.head is not None:
        hits = _hits(original, erased, forget, run, "samples to forget")
        if hits is not None:
            rows["forget"] = _change("samples to forget", None, *hits[:2], ALPHA)
    if kept is not None:
        if tap.head is None:
            unit = "rank-1"
            hits = _neighbours(original, erased, tap, kept, run)
        else:
            hits = _hits(original, erased, kept, run, "retained samples")
        if hits is not None:
            before, after, labels = hits
            rows["retain"] = _change("retained samples", None, before, after, ALPHA)
            rows["worst"] = _worst(before, after, labels)
    return {"unit": unit} | {
        name: None if row is None else asdict(row) for name, row in rows.items()
    }


def decide(
    found: dict[str, Any],
    kind: str,
    limit: float | None,
    method: str,
    stronger: Sequence[str],
    classes: int,
) -> list[str]:
    """Warnings, or an error where a deletion costs too much or did nothing.

    A class request is held to the average over retained samples, any other request to the class
    that lost most. A class counts as still named where the lower end of its accuracy lies above the
    middle between chance and before: half of what the model knew is left.

    Args:
        found: as `measure` gives it.
        kind: of the request.
        limit: points of accuracy that may be lost; None accepts any loss.
        method: its name.
        stronger: settings of the method that make it do more.
        classes: outputs of the model, 0 where there is no head.

    Raises:
        InconclusiveError: the loss is above the limit, or the class is named as before.
    """
    row = found["retain" if kind == "class" else "worst"]
    if row is None:
        said = ["collateral damage was not checked: there are no labelled samples to keep"]
    else:
        said = []
        lost = 100 * (row["before"] - row["after"])
        if limit is not None and 100 * row["loss_low"] > limit:
            raise InconclusiveError(
                f"{method} costs {row['what']} {lost:.1f} points ({row['before']:.1%} to"
                f" {row['after']:.1%}, n = {row['n']}; at least {100 * row['loss_low']:.1f} points"
                f" with 95 % confidence), and {limit:g} are allowed. No model was returned. Choose"
                f" another method or weaker settings, or accept it with max_drop=None (--max-drop"
                " none)."
            )
    forget = found["forget"]
    if kind == "class" and forget is not None and classes > 1:
        chance = 1 / classes
        half = (chance + forget["before"]) / 2
        if forget["before"] > 2 * chance and forget["low"] > half:
            advice = f"Raise {' or '.join(stronger)}" if stronger else "Choose another method"
            raise InconclusiveError(
                f"{method}: the class is still named: {forget['after']:.1%} of its samples"
                f" [{forget['low']:.1%}, {forget['high']:.1%}], {forget['before']:.1%} before (n ="
                f" {forget['n']}). No model was returned. {advice}, or use --method resample."
            )
    return said


def default_limit(kind: str) -> float:
    """Points that may be lost when the user says nothing."""
    return CLASS_POINTS if kind == "class" else SAMPLE_POINTS


def _first(data: Any) -> Any:
    """At most `SAMPLES` of the forget samples that have labels, evenly spread."""
    try:
        labels = labels_of(data)
    except UsageError:
        return None
    if not labels or min(labels) < 0:
        return None
    step = max(1, -(-len(labels) // SAMPLES))
    return Subset(data, list(range(0, len(labels), step)))


def _change(what: str, label: int | None, before: Tensor, after: Tensor, alpha: float) -> Change:
    n, right = len(before), int(after.sum())
    low, high = interval(right, n)
    lost, gained = int((before & ~after).sum()), int((~before & after).sum())
    return Change(
        what=what,
        label=label,
        n=n,
        before=float(before.float().mean()),
        after=right / n,
        low=low,
        high=high,
        loss_low=loss_bound(lost, gained, n, alpha),
    )


def _worst(before: Tensor, after: Tensor, labels: Tensor) -> Change:
    """The class that lost most; the bound is corrected over all classes (Bonferroni)."""
    kinds = labels.unique().tolist()
    rows = [
        _change(
            f"retained class {kind}",
            kind,
            before[labels == kind],
            after[labels == kind],
            ALPHA / len(kinds),
        )
        for kind in kinds
    ]
    return max(rows, key=lambda row: (row.loss_low, row.before - row.after))


def _hits(
    original: nn.Module, erased: nn.Module, data: Any, run: Run, what: str
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Which samples either model names right `[n]`, and their labels; None without scores."""
    found: list[tuple[Tensor, ...]] = []
    done = 0
    with eval_mode(original), eval_mode(erased):
        for batch in batches(data, replace(run, max_samples=None), shard=False):
            scores = [_scores(model, batch) for model in (original, erased)]
            if batch.labels is None or scores[0] is None or scores[1] is None:
                return None
            if scores[0].shape[1] < 2 or int(batch.labels.max()) >= scores[0].shape[1]:
                return None
            found.append((*(one.argmax(1) == batch.labels for one in scores), batch.labels))
            done += len(batch)
            run.report(f"measuring {what}", done, len(data))
    before, after, labels = (torch.cat(part) for part in zip(*found, strict=True))
    return before, after, labels


def _scores(model: nn.Module, batch: Batch) -> Tensor | None:
    with arranged(model, batch.inputs) as inputs:
        scores = logits_of(forward(model, inputs))
    return None if scores is None else scores[: len(batch)].flatten(1).float().cpu()


def _neighbours(
    original: nn.Module, erased: nn.Module, tap: Tap, data: Any, run: Run
) -> tuple[Tensor, Tensor, Tensor]:
    """Whether the nearest other sample by cosine has the same label, for either embedding model."""
    vectors: list[list[Tensor]] = [[], []]
    labels: list[Tensor] = []
    with eval_mode(original), eval_mode(erased):
        for batch in batches(data, replace(run, max_samples=None), shard=False):
            for held, model in zip(vectors, (original, erased), strict=True):
                with arranged(model, batch.inputs) as inputs:
                    held.append(read(model, tap, inputs)[0][: len(batch)].float().cpu())
            labels.append(torch.zeros(0) if batch.labels is None else batch.labels)
    y = torch.cat(labels)
    hits = [_rank_one(torch.cat(held), y) for held in vectors]
    return hits[0], hits[1], y


def _rank_one(z: Tensor, labels: Tensor) -> Tensor:
    z = nn.functional.normalize(z.double(), dim=1)
    nearest = []
    for start in range(0, len(z), 1024):
        near = z[start : start + 1024] @ z.mT
        rows = torch.arange(len(near))
        near[rows, rows + start] = -torch.inf
        nearest.append(near.argmax(1))
    return labels[torch.cat(nearest)] == labels
