"""Goals for a service that gives out features or scores: stricter than a comparison with the
reference, and independent of it where they can be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from unspan.auditing import scores
from unspan.auditing.reading import AttackResult
from unspan.metrics.identity import AttackKind, ScoreKind
from unspan.metrics.stability import MIRROR, NOISE
from unspan.report.rule import GOAL_NAME, Goal

CHANCE_PLUS, AREA, KEPT, SHOTS = 0.05, 0.60, 0.003, 10


def goals(
    verdicts: Sequence[AttackResult], rows: Sequence[scores.Row], classes: int, retrained: bool
) -> list[dict[str, Any]]:
    """Each goal with what was measured, `met` if the value is within the bound, `sure` if its
    interval is as well.

    Args:
        verdicts: of the attacks on a class.
        rows: of the other scores, as in audit.json.
        classes: of the model.
        retrained: the reference is a retrained model; without one nothing can be said about
            teaching again.
    """
    return [
        one
        | {
            "met": _within(one, "value"),
            "sure": _within(one, "high" if one["at_most"] else "low"),
        }
        for one in _measured(verdicts, rows, classes, retrained)
    ]


def _within(one: Mapping[str, Any], key: str) -> bool:
    value, bound = one[key], one["bound"]
    return value is not None and (value <= bound if one["at_most"] else value >= bound)


def _measured(
    verdicts: Sequence[AttackResult], rows: Sequence[scores.Row], classes: int, retrained: bool
) -> Iterator[dict[str, Any]]:
    probes = [one for one in verdicts if one.unit == "share" and not one.identity.kind.few_shot]
    areas = [
        one
        for one in verdicts
        if one.unit == "AUC" and one.identity.kind is not AttackKind.SIGNATURE
    ]
    signature = [one for one in verdicts if one.identity.kind is AttackKind.SIGNATURE]
    few = [
        one
        for one in verdicts
        if retrained and one.identity.kind.few_shot and one.identity.shots == SHOTS
    ]
    for goal, rule, found, bound in (
        (
            Goal.PROBES,
            "at most 5 points above chance",
            probes,
            1 / classes + CHANCE_PLUS,
        ),
        (
            Goal.FEATURES,
            "AUC at most 0.60, either way",
            areas,
            AREA,
        ),
        (
            Goal.SCORES,
            "AUC at most 0.60, either way",
            signature,
            AREA,
        ),
        (Goal.TEACHING, "no more than the reference", few, None),
    ):
        if found:
            most = max(
                found,
                key=lambda one: (
                    one.erased - one.reference
                    if bound is None
                    else abs(one.erased - 0.5)
                    if one.unit == "AUC"
                    else one.erased
                ),
            )
            yield (
                {"id": goal.value, "goal": f"{GOAL_NAME[goal]}: {rule}", "what": most.attack}
                | _either_way(most.unit, most.erased, most.erased_low, most.erased_high)
                | {
                    "unit": most.unit,
                    "n": most.n,
                    "bound": most.reference if bound is None else bound,
                    "at_most": True,
                }
            )
    for goal, kind, name, rule in (
        (
            Goal.NOISE,
            ScoreKind.NOISE,
            NOISE,
            "AUC at most 0.60, either way",
        ),
        (
            Goal.MIRROR,
            ScoreKind.MIRROR,
            MIRROR,
            "AUC at most 0.60, either way",
        ),
    ):
        trace = scores.described(rows, kind, "after")
        if trace is not None:
            yield (
                {"id": goal.value, "goal": f"{GOAL_NAME[goal]}: {rule}", "what": name}
                | _either_way("AUC", trace.value, trace.low, trace.high)
                | {"unit": "AUC", "n": trace.n, "bound": AREA, "at_most": True}
            )
    before, after = (
        scores.described(rows, ScoreKind.RETAIN_ACCURACY, name, "test retain")
        for name in ("before", "after")
    )
    if before is not None and after is not None and before.value is not None:
        yield {
            "id": Goal.RETAIN_ACCURACY.value,
            "goal": f"{GOAL_NAME[Goal.RETAIN_ACCURACY]}: at most 0.3 points below the original",
            "what": "its own scores",
            "value": after.value,
            "low": after.low,
            "high": after.high,
            "unit": "share",
            "n": after.n,
            "bound": before.value - KEPT,
            "at_most": False,
        }


def _either_way(
    unit: str, value: float | None, low: float | None, high: float | None
) -> dict[str, float | None]:
    """An attacker who sees an AUC below 1/2 turns his rule round."""
    if unit != "AUC" or value is None or low is None or high is None or value >= 0.5:
        return {"value": value, "low": low, "high": high}
    return {"value": 1 - value, "low": 1 - high, "high": 1 - low}
