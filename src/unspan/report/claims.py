"""Sections about what may be claimed: levels, goals, and whether the audit tested itself."""

from __future__ import annotations

from unspan.audit_record.record import AuditRecord, GoalResult
from unspan.audit_record.vocabulary import Expected, LevelState, Topic
from unspan.report.document import (
    Cell,
    Listing,
    Section,
    Table,
    number_cell,
    said,
    sentences,
    why,
)
from unspan.report.formatting import joined, literal, measured, upper

_LEVEL_MARK = {
    LevelState.HOLDS: "yes",
    LevelState.FAILS: "no",
    LevelState.NOT_SHOWN: "open",
    LevelState.NOT_TESTED: "none",
}
_GOALS = (
    "What a service needs that gives out features or scores, whatever a reference does. A verdict"
    " above compares with the reference; these goals do so only for teaching again."
)


def levels(audit: AuditRecord, against: str) -> Section:
    """What may be claimed.

    Args:
        audit: the record.
        against: the reference in words.
    """
    title = "What may be claimed"
    if not audit.levels:
        missing = why(audit, Topic.LEVELS)
        return Section("levels", title, missing=missing, contents="What may be claimed")
    rows = [
        [
            Cell(one.level),
            Cell(one.state, "", _LEVEL_MARK[one.state]),
            Cell(upper(said(one.title))),
            Cell(upper(said(one.why))),
        ]
        for one in audit.levels
    ]
    table = Table(
        "Levels of erasure, from the weakest claim to the strongest",
        ["Level", "Result", "Meaning", "Measurement"],
        rows,
    )
    lead = [] if audit.claims else ["This audit supports no claim of erasure."]
    return Section(
        "levels",
        title,
        lead,
        listings=_listings(audit, against),
        tables=[table],
        folded=True,
        contents="What may be claimed",
    )


def _listings(audit: AuditRecord, against: str) -> list[Listing]:
    basis = (
        f"Basis: data {literal(audit.hashes.test_data, 24)}; reference: {against}; numbers,"
        " intervals and n in the tables of this report."
    )
    found = [
        Listing("What may be said, and nothing beyond it", sentences(audit.claims), basis),
        Listing("What an attacker can still do", sentences(audit.can_still)),
        Listing("Limits", sentences(audit.limits)),
    ]
    return [one for one in found if one.lines]


def goals(audit: AuditRecord) -> list[Section]:
    """Goals for a service; no section when there are none."""
    if not audit.goals:
        return []
    rows = []
    for one in audit.goals:
        read = measured(one.value, one.low, one.high, one.unit, one.n)
        rows.append(
            [
                Cell(upper(said(one.goal))),
                _met(one),
                number_cell(read),
                number_cell(measured(one.bound, unit=one.unit)),
                Cell(literal(one.what, 120)),
            ]
        )
    table = Table(
        "Goals, and what was measured for each",
        ["Goal", "Result", "Measured", "Bound", "Worst case"],
        rows,
    )
    title = "Goals for a service"
    return [Section("goals", title, [_GOALS], tables=[table], folded=True, contents="Goals")]


def _met(one: GoalResult) -> Cell:
    if not one.met:
        return Cell("not met", "", "no")
    if one.sure:
        return Cell("surely met", "", "yes")
    return Cell("perhaps met", "its interval reaches beyond", "open")


def controls(audit: AuditRecord) -> Section:
    """Whether the audit caught what was planted."""
    title = "Did this audit test itself?"
    listings = _blind(audit)
    if not audit.controls:
        missing = why(audit, Topic.CONTROLS)
        return Section("controls", title, listings=listings, missing=missing, contents="Self-tests")
    failed = [literal(one.name, 120) for one in audit.controls if not one.ok]
    alert = ""
    if failed:
        alert = f"Do not rely on this report: the audit failed its own test ({'; '.join(failed)})."
    rows = [
        [
            Cell(upper(literal(one.name, 160))),
            Cell(one.expect),
            Cell(literal(one.found, 60), "", "yes" if one.ok else "no"),
            Cell(upper(said(one.detail))),
        ]
        for one in audit.controls
    ]
    table = Table(
        "Planted cases and what the audit said about them",
        ["Planted", "Expected", "Found", "Number"],
        rows,
    )
    return Section(
        "controls",
        title,
        _counted(audit),
        alert,
        listings,
        [table],
        folded=True,
        contents="Self-tests",
    )


def _counted(audit: AuditRecord) -> list[str]:
    """How many fakes were caught, and how many cases raised no false alarm."""
    lead = []
    for kind, before, after in (
        (Expected.CAUGHT, "The audit caught", "fakes: models that only look erased"),
        (Expected.PASSED, "It raised no false alarm in", "cases with nothing to find"),
    ):
        own = [one.ok for one in audit.controls if one.expect is kind]
        if own:
            lead.append(f"{before} {sum(own)} of {len(own)} {after}.")
    return lead


def _blind(audit: AuditRecord) -> list[Listing]:
    blind = [
        joined(f"{literal(one.metric, 120)}: {said(one.why)}")
        for one in audit.informative
        if not one.informative
    ]
    title = "Scores that a fake passes here, so they say nothing about what is left"
    return [Listing(title, blind)] if blind else []
