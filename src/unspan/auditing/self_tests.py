"""Readings side by side, and the self-tests of an audit: fakes, stretched features, noise."""

from __future__ import annotations

from dataclasses import dataclass

from unspan.audit_record.record import Control, Informative, ScoreRow
from unspan.auditing import controls, scores
from unspan.auditing.case import (
    Case,
    own_accuracy,
)
from unspan.auditing.controls import stretched
from unspan.metrics.identity import AttackId, AttackKind, ScoreKind
from unspan.metrics.probes import stratified
from unspan.metrics.score import Reading
from unspan.metrics.signature import signature
from unspan.metrics.whitening import whitened_probe

_STRETCHED = 10_000  # rows of the stretched fake, which is a copy of the features


@dataclass(frozen=True)
class Columns:
    """Readings side by side; place i is the same attack everywhere.

    Attributes:
        attacks: which.
        before: of the original.
        after: of the erased model.
        references: of all references, for each attack.
    """

    attacks: list[AttackId]
    before: list[Reading]
    after: list[Reading]
    references: list[list[Reading]]


def aligned(readings: dict[str, list[Reading]], case: Case) -> Columns:
    """Readings of before, after and the references, attack by attack; attacks that a reference
    cannot face are left out.
    """
    named = {name: {one.identity: one for one in found} for name, found in readings.items()}
    order = [
        one.identity
        for one in readings["before"]
        if all(one.identity in found for found in named.values())
    ]
    return Columns(
        attacks=order,
        before=[named["before"][attack] for attack in order],
        after=[named["after"][attack] for attack in order],
        references=[[named[name][attack] for name in case.references] for attack in order],
    )


def self_tests(
    case: Case,
    readings: dict[str, list[Reading]],
    columns: Columns,
    rows: list[ScoreRow],
) -> tuple[list[Control], list[Informative]]:
    """Planted fakes, permuted labels, and which scores a fake passes."""
    before = case.test["before"]
    edited = list(columns.before)
    own = edited_own = None
    if before.logits is not None and case.by_class:
        fit, test = (
            controls.head_edit(case.fit["before"], case.request.classes),
            controls.head_edit(before, case.request.classes),
        )
        edited = [
            signature(fit, test) if one.identity.kind is AttackKind.SIGNATURE else one
            for one in edited
        ]
        own, edited_own = (
            own_accuracy(case.test["after"], before.forget),
            own_accuracy(test, before.forget),
        )
    found = controls.fakes(columns.before, columns.references, edited, case.run.seed)
    if case.by_class:
        case.run.report("control: stretched features", 0, None)
        place = columns.attacks.index(AttackId(AttackKind.LINEAR_WHITENED))
        some = case.fit["before"].rows(
            stratified(case.fit["before"].labels, _STRETCHED, case.run.seed)
        )
        fit, test = (stretched(one, case.run.seed) for one in (some, before))
        found.append(
            controls.hidden(
                columns.before[place],
                whitened_probe(fit, test, case.run.seed),
                columns.references[place],
                case.run.seed,
            )
        )
        case.run.report("control: permuted labels", 0, None)
        at = columns.attacks.index(AttackId(AttackKind.LINEAR))
        nothing = controls.permuted(case.fit["after"], case.test["after"], case.run.seed)
        found.append(
            controls.noise(columns.before[at], nothing, columns.references[at], case.run.seed)
        )
    kr = scores.described(rows, ScoreKind.KR, "after", "test forget")
    converged = {
        name: next((one.value for one in found if one.identity.kind is AttackKind.LINEAR), None)
        for name, found in readings.items()
    }
    reference = converged.get(case.references[0])
    return found, controls.informative(
        own,
        edited_own,
        None if kr is None else kr.value,
        converged["after"],
        reference,
        before.classes(),
        int(before.forget.sum()),
    )
