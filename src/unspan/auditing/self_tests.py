"""Readings side by side, and the self-tests of an audit: fakes, stretched features, noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from unspan.audit_record.results import AttackResult, Control, Informative, ScoreRow
from unspan.auditing import controls, scores
from unspan.auditing.case import (
    Case,
    own_accuracy,
)
from unspan.auditing.controls import stretched
from unspan.auditing.levels import chance_bound
from unspan.auditing.steps import Work, step
from unspan.auditing.suite import answer_of_views, own_answer
from unspan.metrics.identity import AttackId, AttackKind, ScoreKind
from unspan.metrics.outputs import Outputs
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
    named = {name: _by_identity(found) for name, found in readings.items()}
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


def _by_identity(found: list[Reading]) -> dict[AttackId, Reading]:
    """Readings of one model by what they are. Two of one identity would hide each other."""
    named: dict[AttackId, Reading] = {}
    for one in found:
        if one.identity.kind is AttackKind.OTHER or one.identity in named:
            raise ValueError(
                f"The attack {one.attack!r} has no identity of its own. Give it an AttackKind in"
                " metrics/identity.py, and set it in auditing/suite.py."
            )
        named[one.identity] = one
    return named


def self_tests(
    case: Case,
    readings: dict[str, list[Reading]],
    columns: Columns,
    rows: list[ScoreRow],
    untouched: Sequence[AttackResult],
) -> tuple[list[Control], list[Informative]]:
    """Planted fakes, permuted labels, and which scores a fake passes.

    Args:
        case: of the audit.
        readings: what every attack reads, by model.
        columns: the same side by side.
        rows: scores that are reported.
        untouched: how attacks that the verdict counts besides judge the original as erased model.
    """
    edited = None
    if case.test["before"].logits is not None and case.by_class:
        edited = _head_edit(case)
    found = controls.fakes(
        columns.before,
        columns.references,
        None if edited is None else _readings_of(edited, case, columns),
        untouched,
        retrained=case.is_compared,
        chance=chance_bound(case.test["before"].classes()),
    )
    if case.by_class:
        found += [_stretched(case, columns), _permuted(case, columns)]
    return found, _informative(case, readings, edited, rows)


def _head_edit(case: Case) -> tuple[Outputs, Outputs]:
    """Outputs on fit and test data of the original with an edited head."""
    fit, test = case.fit["before"], case.test["before"]
    classes = case.request.classes
    return controls.head_edit(fit, classes), controls.head_edit(test, classes)


def _readings_of(edited: tuple[Outputs, Outputs], case: Case, columns: Columns) -> list[Reading]:
    """What attacks read of the edited head: only the scores are others than the original's."""
    fit, test = edited

    def of_views() -> Reading:
        views = controls.head_edit(case.test_views["before"], case.request.classes)
        return answer_of_views(views)[0]

    anew = {
        AttackKind.SIGNATURE: lambda: replace(
            signature(fit, test), identity=AttackId(AttackKind.SIGNATURE)
        ),
        AttackKind.OWN_ANSWER: lambda: own_answer(test)[0],
        AttackKind.ANSWER_OF_VIEWS: of_views,
    }
    return [
        anew[one.identity.kind]() if one.identity.kind in anew else one for one in columns.before
    ]


def _stretched(case: Case, columns: Columns) -> Control:
    case.run.begin(step(Work.STRETCHED))
    place = columns.attacks.index(AttackId(AttackKind.LINEAR_WHITENED))
    known, seed = case.fit["before"], case.run.seed
    some = known.rows(stratified(known.labels, _STRETCHED, seed))
    read = whitened_probe(stretched(some, seed), stretched(case.test["before"], seed), seed)
    return controls.hidden(columns.before[place], read)


def _permuted(case: Case, columns: Columns) -> Control:
    case.run.begin(step(Work.PERMUTED))
    place = columns.attacks.index(AttackId(AttackKind.LINEAR))
    nothing = controls.permuted(case.fit["after"], case.test["after"], case.run.seed)
    return controls.noise(
        columns.before[place], nothing, columns.references[place], retrained=case.is_compared
    )


def _informative(
    case: Case,
    readings: dict[str, list[Reading]],
    edited: tuple[Outputs, Outputs] | None,
    rows: list[ScoreRow],
) -> list[Informative]:
    """Which scores a fake passes."""
    before = case.test["before"]
    own = edited_own = None
    if edited is not None:
        own = own_accuracy(case.test["after"], before.forget)
        edited_own = own_accuracy(edited[1], before.forget)
    published = scores.described(rows, ScoreKind.KR, "after", "test forget")
    return controls.informative(
        own=own,
        edited_own=edited_own,
        published=None if published is None else published.value,
        converged=_linear(readings["after"]),
        reference=_linear(readings[case.references[0]]) if case.references else None,
        classes=before.classes(),
        n=int(before.forget.sum()),
    )


def _linear(found: list[Reading]) -> float | None:
    """What the converged linear probe reads."""
    for one in found:
        if one.identity.kind is AttackKind.LINEAR:
            return one.value
    return None
