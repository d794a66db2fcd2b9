"""What a deletion costs the others, and whether it did anything: measured on the same samples
before and after, and refused beyond a limit.

Two things are decided. The samples to keep may lose at most so many points of accuracy: on average
for a request of classes; on average and in every class for any other request. And a class that is
to be forgotten must not be named as before.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from unspan.data.class_names import class_name
from unspan.data.request import Request
from unspan.erasure.cautions import never_named, over_limit, partly_named, unmoved
from unspan.erasure.collateral import Kept, forgotten, retained, suspects
from unspan.erasure.evaluation import LEVEL, Accuracy, Answers, Measure, Part, row, rows
from unspan.erasure.predictions import Pair
from unspan.erasure.remedies import remedy, to_change
from unspan.errors import DataError, UsageError
from unspan.metrics.paired import lowest_share, paired_bounds
from unspan.run import Run

CLASS_POINTS, SAMPLE_POINTS = 3.0, 2.0  # that may be lost by default
MaxDrop = float | None | Literal["default"]
_SPLIT = "checked"


@dataclass(frozen=True)
class Finding:
    """What the guard found.

    Attributes:
        rows: for the receipt: the samples to forget, those to keep, the class that lost most.
        record: for the receipt: limit, bound, and what was compared.
        damage: what is refused of the samples to keep, None where it is within the limit.
        named: what is refused of the samples to forget, None where they are forgotten.
        warnings: for the user.
    """

    rows: list[dict[str, Any]]
    record: dict[str, Any]
    damage: str | None
    named: str | None
    warnings: list[str]


def limit_of(max_drop: MaxDrop, kind: str) -> float | None:
    """Points that may be lost by a request of this kind; None accepts any loss.

    Raises:
        UsageError: no number of points.
    """
    if max_drop is None:
        return None
    if max_drop == "default":
        return CLASS_POINTS if kind == "class" else SAMPLE_POINTS
    if (
        isinstance(max_drop, bool)
        or not isinstance(max_drop, (int, float))
        or not 0 <= max_drop <= 100
        or math.isnan(max_drop)
    ):
        raise UsageError(
            f"max_drop={max_drop!r}: give points of accuracy from 0 to 100, or None (--max-drop"
            " none) to accept any loss."
        )
    return float(max_drop)


def measured(
    pair: Pair,
    request: Request,
    kept: Kept | None,
    run: Run,
    limit: float | None,
    names: Sequence[str] | None = None,
    earlier_classes: Collection[int] = (),
) -> Finding:
    """Measure a deletion and compare it with its limit; nothing of it is changed.

    Args:
        pair: both models.
        request: with the samples that were set apart.
        kept: samples to keep, None where the request has none.
        run: batch size, seed, progress.
        limit: points that may be lost, None for any.
        names: of the classes, for messages.
        earlier_classes: that earlier requests on this model erased; they are not data to keep.
    """
    run = replace(run, max_samples=None)
    gone, first, again, unread = _read(pair, request, kept, run, earlier_classes)
    found = [] if gone is None else [row(gone, f"{_SPLIT} forget", Part.FORGET)]
    named = _named(gone, request.classes, names)
    record: dict[str, Any] = {"limit": limit, "checked": False, "named": named is not None}
    why = unread or _why_not(kept, first)
    if why is not None or first is None or kept is None:
        record["why"] = why
        warning = f"damage to the samples to keep was not checked: {why}"
        return Finding(rows(found), record, None, named, [warning, *unmoved(gone, request)])
    overall = row(first, f"{_SPLIT} retain", Part.RETAIN, level=LEVEL)
    worst = _worst(first if again is None else again)
    decisive = overall
    if request.kind != "class":
        average = row(first, f"{_SPLIT} retain", Part.RETAIN, level=_level(first))
        decisive = min(average, worst, key=lambda found: found.change_high)
    record |= {
        "checked": True,
        "of": "average" if decisive.label is None else "each class",
        "samples": len(first) + (0 if again is None else len(again)),
        "classes": len(first.labels.unique()),
        "unseen": kept.unseen,
        "measure": first.measure.value,
        "loss": -decisive.change,
        "loss_at_least": -decisive.change_high,
    }
    damage = _damage(decisive, limit, names)
    said = [] if limit is not None else _accepted(decisive, request.kind, names)
    said += over_limit(rows([decisive]), limit) if damage is None else []
    said += partly_named(gone, request.classes, names) if named is None else []
    said += [*unmoved(gone, request), *never_named(first, names)]
    return Finding(rows([*found, overall, worst]), record, damage, named, said)


def refusal(
    found: Finding, method: Any, resume: Path | None, figures: Mapping[str, Any]
) -> str | None:
    """Why a result must not be used, with the settings to change; None where it may be.

    That is so where a class is named as before, or where the samples to keep lose too much.

    Args:
        found: what was measured.
        method: with its settings.
        resume: folder of trained epochs.
        figures: of the fit, as the receipt has them.
    """
    if found.named is None and found.damage is None:
        return None
    kept = ""
    if resume is not None and resume.is_dir():
        kept = (
            f" The trained epochs are kept in {resume}: the same settings go on from there, others"
            " train anew."
        )
    settings = to_change(method, figures)
    if found.named is not None:
        return f"{method.name}: {found.named} {remedy(method, figures)}, and run again.{kept}"
    advice = f"Change {settings}, or accept" if settings else "Choose another method, or accept"
    return (
        f"{method.name}: {found.damage} {advice} it with --max-drop none (max_drop=None), and run"
        f" again.{kept}"
    )


def _read(
    pair: Pair, request: Request, kept: Kept | None, run: Run, earlier_classes: Collection[int]
) -> tuple[Answers | None, Answers | None, Answers | None, str | None]:
    """Answers on samples to forget, on those to keep, and on more of the classes that lost most;
    and why some could not be read.
    """
    gone = first = again = None
    with torch.random.fork_rng():
        try:
            gone = forgotten(pair, request, kept, run)
            if kept is not None:
                first = retained(pair, kept.first, run)
            if kept is not None and first is not None:
                first = _without(first, earlier_classes)
                again = suspects(pair, kept, first, run)
        except (DataError, UsageError) as error:
            return gone, None, None, " ".join(str(error).split())
    return gone, first, again, None


def _without(answers: Answers, labels: Collection[int]) -> Answers:
    return answers.where(~torch.isin(answers.labels, torch.tensor(list(labels), dtype=torch.long)))


def _why_not(kept: Kept | None, first: Answers | None) -> str | None:
    """Why damage cannot be told; None where it can."""
    if kept is None:
        return "the request has no samples to keep"
    if first is None or len(first) == 0:
        return "the samples to keep have no labels of this model's classes"
    before = first.shares()[0]
    if first.measure is Measure.ACCURACY and len(first) >= 20 and _chance(before, first.outputs):
        return (
            f"the original names {before:.1%} of the samples to keep, about chance for"
            f" {first.outputs} classes"
        )
    return None


def _chance(share: float, outputs: int) -> bool:
    return share <= min(1.5 / outputs, 1 / outputs + 0.02)


def _worst(answers: Answers) -> Accuracy:
    """The class whose loss is surest."""
    labels = answers.labels.unique().tolist()
    level = _level(answers)

    def loss(label: int) -> tuple[float, float]:
        one = answers.of(label)
        return paired_bounds(one.lost, one.gained, len(one), level)[0], one.lost / len(one)

    worst = max(labels, key=loss)
    return row(answers.of(worst), f"{_SPLIT} worst class", Part.WORST, label=worst, level=level)


def _level(answers: Answers) -> float:
    """That of one decision where each class and their average is decided (Bonferroni).

    The average cannot lose more than the class that loses most, so a loss of the average is one of
    a class, and shows where every class has only a few samples.
    """
    return 1 - (1 - LEVEL) / (len(answers.labels.unique()) + 1)


def _named(
    answers: Answers | None, classes: Sequence[int], names: Sequence[str] | None
) -> str | None:
    """What to say where a class is named as before; None where none is.

    As before means: more than half of what the model knew of the class beyond chance is left, with
    the lower 95 % bound of its accuracy. Half, because a method that works leaves near chance or
    none, one that does nothing leaves all, and the middle is far from both.
    """
    if answers is None or answers.measure is not Measure.ACCURACY or not classes:
        return None
    chance = 1 / answers.outputs
    for label in classes:
        one = answers.of(label)
        before, after = one.shares()
        least = lowest_share(int(one.after.sum()), len(one), 1 - (1 - LEVEL) / len(classes))
        if before > chance and least > (before + chance) / 2:
            return (
                f"{class_name(label, names)} is still named: {after:.1%} of {len(one)} samples,"
                f" {before:.1%} before (chance is {chance:.1%})."
            )
    return None


def _damage(found: Accuracy, limit: float | None, names: Sequence[str] | None) -> str | None:
    if limit is None or -100 * found.change_high <= limit:
        return None
    return f"{_lost(found, names)}, and {limit:g} may be lost."


def _accepted(found: Accuracy, kind: str, names: Sequence[str] | None) -> list[str]:
    usual = limit_of("default", kind) or 0.0
    if -100 * found.change_high <= usual:
        return []
    name = None if kind != "class" else names
    return [f"damage was accepted (max_drop=None): {_lost(found, name)}"]


def _lost(found: Accuracy, names: Sequence[str] | None) -> str:
    who = "the classes to keep" if found.label is None else class_name(found.label, names)
    average = " on average" if found.label is None else ""
    return (
        f"{who} lost {-100 * found.change:.1f} points of {found.measure}{average}, from"
        f" {found.before:.1%} to {found.after:.1%} (n = {found.n}; at least"
        f" {-100 * found.change_high:.1f} with 95 % confidence)"
    )
