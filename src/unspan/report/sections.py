"""Everything below the first screen of a report: one section for each question a reader may
have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from unspan.report import figures, record, scores
from unspan.report.document import (
    Cell,
    Figure,
    Listing,
    Panel,
    Section,
    Table,
    rows,
    said,
    sentences,
    table,
    why,
)
from unspan.report.formatting import count, fraction, joined, measured, number, thousands, upper
from unspan.report.rule import MARK, Topic

_PICTURE = re.compile(r"data:image/png;base64,iVBORw0KGgo[A-Za-z0-9+/]{20,4000000}={0,2}")


def sections(audit: Mapping[str, Any], against: str) -> list[Section]:
    """All sections, in reading order.

    Args:
        audit: content of `audit.json`.
        against: the reference in words.
    """
    found = scores.grouped(audit)
    return [
        _attacks(audit, against),
        _levels(audit, against),
        *_goals(audit),
        _controls(audit),
        scores.utility(audit, found),
        scores.published(audit, found),
        _relearning(audit, found),
        *scores.groups(audit, found),
        _gradcam(audit),
        record.not_run(audit),
        record.how(audit),
        record.record(audit),
    ]


def _attacks(audit: Mapping[str, Any], against: str) -> Section:
    found, title = rows(audit, "attacks"), "What attackers can still read"
    if not found:
        return Section("attacks", title, missing=why(audit, Topic.ATTACKS))
    note = said(table(audit, "reference"), "note")
    lead = [
        "Each row is one way to get at what was to be erased, the strongest first. Reference:"
        f" {against}. {joined(note)}".strip(),
        (
            "The recoverable part says how much of what the original gave away beyond the reference"
            " is still there: 100\u00a0% means nothing was removed, 0\u00a0% means as little as in"
            " the reference."
        ),
    ]
    columns = ["Attack", "Verdict", "Before", "After erasing", "Reference", "Recoverable part", "n"]
    figure = figures.attacks(audit)
    caption = (
        "Attacks on the forgotten test samples: value, 95\u00a0% interval in brackets, n test"
        " samples"
    )
    return Section(
        "attacks",
        title,
        lead,
        tables=[
            Table(
                caption,
                columns,
                [_attack(one, stopped(one)) for one in found],
            )
        ],
        figures=[figure] if figure else [],
    )


def _attack(one: Mapping[str, Any], early: bool) -> list[Cell]:
    unit, n, kept = one.get("unit"), count(one.get("n")), number(one.get("retain"))
    told = (
        f"on what was to be kept, the same attack is right for {measured(kept).value}"
        if kept is not None
        else ""
    )
    values = [
        measured(one.get("original"), unit=unit, n=n),
        measured(one.get("erased"), one.get("erased_low"), one.get("erased_high"), unit, n),
        measured(one.get("reference"), unit=unit, n=n),
    ]
    part = fraction(one.get("rho"), one.get("rho_low"), one.get("rho_high"))
    return [
        Cell(said(one, "attack", 80), joined(said(one, "explain"), told)),
        Cell(
            said(one, "verdict", 40),
            joined(
                said(one, "note"),
                "NOT CONVERGED: this attack stopped early and could read more" if early else "",
            ),
            MARK.get(str(one.get("verdict")), ""),
        ),
        *(Cell(value.value, value.interval) for value in (*values, part)),
        Cell(thousands(n) if n else "unknown"),
    ]


def stopped(attack: Mapping[str, Any]) -> bool:
    """Whether an attack was stopped before it had converged, in any of the models."""
    return attack.get("converged") is False


def _levels(audit: Mapping[str, Any], against: str) -> Section:
    found, lines = rows(audit, "levels"), []
    for one in found:
        holds = one.get("holds")
        state = said(one, "state", 20) or (
            "holds" if holds is True else "does not hold" if holds is False else "not tested"
        )
        result = Cell(
            state,
            "",
            (
                "yes"
                if holds is True
                else "no"
                if holds is False
                else "open"
                if state == "not shown"
                else "none"
            ),
        )
        lines.append(
            [
                Cell(said(one, "level", 8)),
                result,
                Cell(upper(said(one, "title"))),
                Cell(upper(said(one, "why"))),
            ]
        )
    claims = sentences(audit, "claims")
    hashes = table(audit, "hashes")
    data = next(
        (said(hashes, key, 24) for key in ("test data", "data", "fit data") if said(hashes, key)),
        "without a recorded hash",
    )
    basis = (
        f"Basis: data {data}; reference: {against}; numbers, intervals and n in the tables of this"
        " report."
    )
    listings = [Listing("What may be said, and nothing beyond it", claims, basis)] if claims else []
    for title, key in (
        ("What an attacker can still do", "can_still"),
        ("Limits", "limits"),
        ("Next steps", "next_steps"),
    ):
        listings += [Listing(title, own)] if (own := sentences(audit, key)) else []
    lead = ["This audit supports no claim of erasure."] if found and not claims else []
    tables = (
        [
            Table(
                "Levels of erasure, from the weakest claim to the strongest",
                ["Level", "Result", "Meaning", "Measurement"],
                lines,
            )
        ]
        if found
        else []
    )
    return Section(
        "levels",
        "What may be claimed",
        lead,
        listings=listings,
        tables=tables,
        missing="" if found else why(audit, Topic.LEVELS),
    )


def _goals(audit: Mapping[str, Any]) -> list[Section]:
    lines = []
    for one in rows(audit, "goals"):
        unit, met = said(one, "unit", 20), one.get("met") is True
        state = (
            Cell("met", "", "yes")
            if met and one.get("sure") is True
            else (
                Cell("met", "its interval reaches beyond", "open")
                if met
                else Cell("not met", "", "no")
            )
        )
        read = measured(
            one.get("value"), one.get("low"), one.get("high"), unit, count(one.get("n"))
        )
        lines.append(
            [
                Cell(upper(said(one, "goal"))),
                state,
                Cell(read.value, read.interval),
                Cell(measured(one.get("bound"), unit=unit).value),
                Cell(said(one, "what", 120)),
            ]
        )
    lead = [
        "What a service needs that gives out features or scores, whatever a reference does. A"
        " verdict above compares with the reference; these goals do so only for teaching again."
    ]
    return (
        [
            Section(
                "goals",
                "Goals for a service",
                lead,
                tables=[
                    Table(
                        "Goals, and what was measured for each",
                        ["Goal", "Result", "Measured", "Bound", "Worst case"],
                        lines,
                    )
                ],
            )
        ]
        if lines
        else []
    )


def _controls(audit: Mapping[str, Any]) -> Section:
    found, title = rows(audit, "controls"), "Did this audit test itself?"
    blind = [
        joined(f"{said(one, 'metric', 120)}: {said(one, 'why')}")
        for one in rows(audit, "informative")
        if one.get("informative") is not True
    ]
    listings = (
        [Listing("Scores that a fake passes here, so they say nothing about what is left", blind)]
        if blind
        else []
    )
    if not found:
        return Section("controls", title, listings=listings, missing=why(audit, Topic.CONTROLS))
    lead, failed = [], [said(one, "name", 120) for one in found if one.get("ok") is not True]
    for kind, before, after in (
        ("caught", "The audit caught", "fakes: models that only look erased"),
        ("passed", "It raised no false alarm in", "cases with nothing to find"),
    ):
        own = [one.get("ok") is True for one in found if one.get("expect") == kind]
        lead += [f"{before} {sum(own)} of {len(own)} {after}."] if own else []
    lines = []
    for one in found:
        good = one.get("ok") is True
        lines.append(
            [
                Cell(upper(said(one, "name", 160))),
                Cell(said(one, "expect", 40)),
                Cell(said(one, "found", 60), "", "yes" if good else "no"),
                Cell(upper(said(one, "detail"))),
            ]
        )
    alert = (
        f"Do not rely on this report: the audit failed its own test ({'; '.join(failed)})."
        if failed
        else ""
    )
    return Section(
        "controls",
        title,
        lead,
        alert,
        listings,
        [
            Table(
                "Planted cases and what the audit said about them",
                ["Planted", "Expected", "Found", "Number"],
                lines,
            )
        ],
    )


def _relearning(audit: Mapping[str, Any], found: Mapping[str, scores.Rows]) -> Section:
    figure, title = figures.relearn(audit), "How fast can it be taught again?"
    own = found.get("relearning", [])
    tables = (
        [scores.score_table("Examples needed to read half of what the original gives away", own)]
        if own
        else []
    )
    if not figure:
        return Section(
            "relearning",
            title,
            tables=tables,
            missing="" if tables else why(audit, Topic.RELEARNING),
        )
    shots, curves = figures.relearned(audit)
    n = count(table(audit, "request").get("test_samples"))
    lines = []
    for place, shot in enumerate(shots):
        read = [measured(known[place], n=n) for known in curves.values()]
        lines.append(
            [
                Cell(thousands(shot)),
                *(Cell(one.value, one.interval) for one in read),
                Cell(thousands(n) if n else "unknown"),
            ]
        )
    caption = "Forgotten test samples recognised after training on a few examples: mean over draws"
    return Section(
        "relearning",
        title,
        tables=[
            Table(caption, ["Examples", *(model.capitalize() for model in curves), "n"], lines),
            *tables,
        ],
        figures=[figure],
    )


def _gradcam(audit: Mapping[str, Any]) -> Section:
    title, refused = "Where the model looks (Grad-CAM)", 0
    found, shown = rows(table(audit, "figures"), "gradcam"), []
    if not found:
        return Section("gradcam", title, missing=why(audit, Topic.GRADCAM))
    for one in found:
        panels, caption = [], said(one, "caption", 120)
        for key, name in (("image", "Image"), ("before", "Before"), ("after", "After erasing")):
            if is_picture(one.get(key)):
                panels.append(Panel(name, image=one[key], alt=f"{name}: {caption}"))
            else:
                refused += one.get(key) not in (None, "")
        if panels:
            shown.append(
                Figure(
                    upper(caption) or "Example",
                    "Marked regions matter more for the answer of the model. This illustrates; it"
                    " is no test.",
                    panels.copy,
                    pictures=True,
                )
            )
    alert = f"Pictures left out because they are no PNG data: {refused}." if refused else ""
    return Section(
        "gradcam",
        title,
        (
            [
                "These pictures come from the audited data and may be personal data: treat this"
                " file accordingly."
            ]
            if shown
            else []
        ),
        alert,
        figures=shown,
    )


def is_picture(address: Any) -> bool:
    """Whether an address is a PNG inside the page and nothing else."""
    return isinstance(address, str) and _PICTURE.fullmatch(address) is not None
