"""Sections about what may be claimed: levels, goals, and whether the audit tested itself."""

from __future__ import annotations

from unspan.audit_record.record import AuditRecord
from unspan.audit_record.results import GoalResult
from unspan.audit_record.vocabulary import Expected, LevelState, Topic
from unspan.report import statements as told
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
from unspan.report.words.codes import FOOLED_SCORE, LIMIT, PLANTED
from unspan.report.words.parts import Part

_LEVEL_MARK = {
    LevelState.HOLDS: "yes",
    LevelState.FAILS: "no",
    LevelState.NOT_SHOWN: "open",
    LevelState.NOT_TESTED: "none",
}


def levels(audit: AuditRecord, against: str) -> Section:
    """What may be claimed.

    Args:
        audit: the record.
        against: the reference in words.
    """
    title = Part.MAY_BE_CLAIMED.value
    if not audit.levels:
        missing = why(audit, Topic.LEVELS)
        return Section("levels", title, missing=missing, contents=Part.MAY_BE_CLAIMED.value)
    rows = [
        [
            Cell(one.level),
            Cell(one.state, "", _LEVEL_MARK[one.state]),
            Cell(upper(said(told.level_title(one)))),
            Cell(upper(said(told.clauses(one.why)))),
        ]
        for one in audit.levels
    ]
    table = Table(
        Part.LEVELS_CAPTION.value,
        [Part.LEVEL.value, Part.RESULT.value, Part.MEANING.value, Part.MEASUREMENT.value],
        rows,
    )
    lead = [] if any(one.holds for one in audit.levels) else [Part.NO_CLAIM.value]
    return Section(
        "levels",
        title,
        lead,
        listings=_listings(audit, against),
        tables=[table],
        folded=True,
        contents=Part.MAY_BE_CLAIMED.value,
    )


def _listings(audit: AuditRecord, against: str) -> list[Listing]:
    basis = Part.BASIS.format(test_data=literal(audit.hashes.test_data, 24), against=against)
    found = [
        Listing(Part.MAY_BE_SAID.value, sentences(told.claims(audit)), basis),
        Listing(Part.ATTACKER_CAN_STILL.value, sentences(told.can_still(audit))),
        Listing(Part.LIMITS.value, [LIMIT[one] for one in audit.limits]),
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
                Cell(upper(told.goal(one))),
                _met(one),
                number_cell(read),
                number_cell(measured(one.bound, unit=one.unit)),
                Cell(literal(one.what, 120)),
            ]
        )
    table = Table(
        Part.GOALS_CAPTION.value,
        [
            Part.GOAL.value,
            Part.RESULT.value,
            Part.MEASURED.value,
            Part.BOUND.value,
            Part.WORST_CASE.value,
        ],
        rows,
    )
    title = Part.GOALS_TITLE.value
    return [
        Section(
            "goals",
            title,
            [Part.GOALS_LEAD.value],
            tables=[table],
            folded=True,
            contents=Part.GOALS.value,
        )
    ]


def _met(one: GoalResult) -> Cell:
    if one.sure:
        return Cell(Part.SURELY_MET.value, "", "yes") if one.met else Cell(Part.NOT_MET, "", "no")
    if one.met:
        return Cell(Part.PERHAPS_MET.value, Part.INTERVAL_REACHES.value, "open")
    return Cell(Part.NOT_SHOWN.value, Part.INTERVAL_REACHES_BACK.value, "open")


def controls(audit: AuditRecord) -> Section:
    """Whether the audit caught what was planted."""
    title = Part.CONTROLS_TITLE.value
    listings = _blind(audit)
    if not audit.controls:
        missing = why(audit, Topic.CONTROLS)
        return Section(
            "controls", title, listings=listings, missing=missing, contents=Part.SELF_TESTS.value
        )
    failed = [PLANTED[one.planted] for one in audit.controls if not one.ok]
    alert = ""
    if failed:
        alert = Part.DO_NOT_RELY.format(failed="; ".join(failed))
    rows = [
        [
            Cell(upper(PLANTED[one.planted])),
            Cell(one.expect),
            Cell(told.control_found(one), "", "yes" if one.ok else "no"),
            Cell(upper(said(told.control_number(one)))),
        ]
        for one in audit.controls
    ]
    table = Table(
        Part.CONTROLS_CAPTION.value,
        [Part.PLANTED.value, Part.EXPECTED.value, Part.FOUND.value, Part.NUMBER.value],
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
        contents=Part.SELF_TESTS.value,
    )


def _counted(audit: AuditRecord) -> list[str]:
    """How many fakes were caught, and how many cases raised no false alarm."""
    lead = []
    for kind, text in (
        (Expected.CAUGHT, Part.AUDIT_CAUGHT),
        (Expected.PASSED, Part.NO_FALSE_ALARM),
    ):
        own = [one.ok for one in audit.controls if one.expect is kind]
        if own:
            lead.append(text.format(right=sum(own), count=len(own)))
    return lead


def _blind(audit: AuditRecord) -> list[Listing]:
    blind = [
        joined(f"{FOOLED_SCORE[one.score]}: {said(told.sentence(one.why))}")
        for one in audit.informative
        if not one.informative
    ]
    title = Part.BLIND_TITLE.value
    return [Listing(title, blind)] if blind else []
