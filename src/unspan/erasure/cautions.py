"""What the guard says of a result that it does not refuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unspan.data.class_names import class_name
from unspan.data.request import Request
from unspan.erasure.evaluation import LEVEL, Answers, Measure, Part
from unspan.metrics.paired import lowest_share, paired_bounds

_SHOWN = 3  # classes named in a warning


def over_limit(found: Sequence[Mapping[str, Any]], limit: float | None) -> list[str]:
    """A warning for each row of samples to keep that lost more than the limit and is not refused.

    Args:
        found: rows of a receipt.
        limit: points that may be lost, None for any.
    """
    said = []
    for one in found:
        lost, least, most = (-100 * one[name] for name in ("change", "change_high", "change_low"))
        if limit is None or lost <= limit or one["part"] not in (Part.RETAIN, Part.WORST):
            continue
        why = "the interval reaches below the limit: more samples would decide"
        if least > limit:
            why = "only what the checked samples show is refused; on these the loss is shown"
        said.append(
            f"{one['split']}: {lost:.1f} points of {one['measure']} were lost (95 % interval"
            f" {least:.1f} to {most:.1f}, n = {one['n']}), and {limit:g} may be lost. This was not"
            f" refused: {why}"
        )
    return said


def partly_named(
    answers: Answers | None, classes: Sequence[int], names: Sequence[str] | None
) -> list[str]:
    """A warning where more than half of what was known of a class is left, and it is not shown."""
    if answers is None or answers.measure is not Measure.ACCURACY:
        return []
    chance = 1 / answers.outputs
    found = []
    for label in classes:
        one = answers.of(label)
        before, after = one.shares()
        if before > chance and after > (before + chance) / 2:
            found.append(
                f"{class_name(label, names)} is still named for {after:.1%} of {len(one)} samples,"
                f" {before:.1%} before (chance is {chance:.1%}). This was not refused: the samples"
                " are too few to show that more than half of what was known is left"
            )
    return found


def unmoved(gone: Answers | None, request: Request) -> list[str]:
    """A warning where single samples are answered as before; a class that is, is refused."""
    if gone is None or request.classes or not len(gone):
        return []
    if paired_bounds(gone.lost, gone.gained, len(gone), LEVEL)[0] > 0:
        return []
    before, after = gone.shares()
    return [
        f"no change of the answers to the samples to forget is shown: {gone.measure.value}"
        f" {before:.1%} before, {after:.1%} after (n = {len(gone)}); whether the model still knows"
        " them as its training data is for an audit with retrained networks (unspan audit)"
    ]


def never_named(first: Answers, names: Sequence[str] | None) -> list[str]:
    """A warning where the original names classes to keep less often than chance or 5 %."""
    if first.measure is not Measure.ACCURACY or first.outputs < 2:
        return []
    labels = first.labels.unique().tolist()
    level = 1 - (1 - LEVEL) / len(labels)
    rarely = max(1 / first.outputs, 0.05)
    found = []
    for label in labels:
        one = first.of(label)
        missed = int((~one.before).sum())
        if lowest_share(missed, len(one), level) > 1 - rarely:
            found.append(class_name(label, names))
    if not found:
        return []
    shown = ", ".join(found[:_SHOWN]) + (" and more" if len(found) > _SHOWN else "")
    return [
        f"the original hardly ever names {shown}, which are to be kept: are the labels those of its"
        " outputs? Give the names of the outputs (--classes FILE, class_names=[...])"
    ]
