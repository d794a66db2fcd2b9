"""Everything below the first screen of a report: one section for each question a reader may
have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from unspan.audit_record.drawings import GradcamPicture
from unspan.audit_record.record import AttackResult, AuditRecord
from unspan.audit_record.vocabulary import ScoreGroup, Topic
from unspan.report import appendix, claims, dumbbells, figures, scores
from unspan.report.document import MARK, Cell, Figure, Panel, Section, Table, said, why
from unspan.report.formatting import (
    fraction,
    joined,
    literal,
    measured,
    thousands,
    upper,
)

_PICTURE = re.compile(r"data:image/png;base64,iVBORw0KGgo[A-Za-z0-9+/]{20,4000000}={0,2}")
_PART = (
    "Of each kind of attacker the strongest attack decides, in every model its own. Its recoverable"
    " part says how much of what the original gave away beyond the retrained networks is still"
    " there: 100\u00a0% means nothing was removed, 0\u00a0% as little as there."
)
_STOPPED = "NOT CONVERGED: this attack stopped early and could read more"
_PERSONAL = (
    "These pictures come from the audited data and may be personal data: treat this file"
    " accordingly."
)
_ILLUSTRATES = (
    "Marked regions matter more for the answer of the model. This illustrates; it is no test."
)


def sections(audit: AuditRecord, against: str) -> list[Section]:
    """All sections, in reading order. A new section of the report is entered here.

    Args:
        audit: the record.
        against: the reference in words.
    """
    found = scores.grouped(audit)
    return [
        _attacks(audit, against),
        claims.levels(audit, against),
        *claims.goals(audit),
        claims.controls(audit),
        scores.utility(audit, found),
        scores.published(audit, found),
        _relearning(audit, found),
        *scores.groups(audit, found),
        _gradcam(audit),
        appendix.not_run(audit),
        appendix.how(audit),
        appendix.settings(audit),
    ]


def _attacks(audit: AuditRecord, against: str) -> Section:
    title = "What attackers can still read"
    if not audit.attacks:
        return Section("attacks", title, missing=why(audit, Topic.ATTACKS))
    note = said(audit.reference.note)
    lead = (
        "Each row is one way to get at what was to be erased; what decides comes first. Reference:"
        f" {against}. {joined(note)}".strip()
    )
    table = Table(
        "Attacks on the forgotten test samples: value, 95\u00a0% interval in brackets, n test"
        " samples",
        ["Attack", "Verdict", "Before", "After erasing", "Reference", "Recoverable part", "n"],
        [_attack(one) for one in audit.attacks],
    )
    figure = dumbbells.attacks(audit)
    drawn = [figure] if figure else []
    return Section("attacks", title, [lead, _PART], tables=[table], figures=drawn)


def _attack(one: AttackResult) -> list[Cell]:
    kept = ""
    if one.false_positives is not None:
        kept = f"it takes {measured(one.false_positives).value} of the others for the forgotten"
    values = [
        measured(one.original, unit=one.unit, n=one.n),
        measured(one.erased, one.erased_low, one.erased_high, one.unit, one.n),
        measured(one.reference, unit=one.unit, n=one.n),
        fraction(one.rho, one.rho_low, one.rho_high),
    ]
    warned = joined(said(one.note), "" if one.converged else _STOPPED)
    return [
        Cell(literal(one.attack, 80), joined(said(one.explain), kept)),
        _word(one, warned),
        *(Cell(value.value, value.interval) for value in values),
        Cell(thousands(one.n) if one.n else "unknown"),
    ]


def _word(one: AttackResult, warned: str) -> Cell:
    """The word for its kind of attacker, where it decides."""
    if one.verdict is None:
        return Cell("–", warned)
    who = str(one.identity.attacker.family)
    return Cell(one.verdict, joined(who, warned), MARK[one.verdict])


def _relearning(audit: AuditRecord, found: Mapping[ScoreGroup, scores.Rows]) -> Section:
    title = "How fast can it be taught again?"
    own = found.get(ScoreGroup.RELEARNING, [])
    tables = []
    curves = audit.figures.relearn
    figure = figures.relearn(audit)
    if figure is not None and curves is not None:
        tables.append(_relearned(curves.shots, figures.relearned(audit), audit))
    if own:
        caption = "Examples needed to read half of what the original gives away"
        tables.append(scores.score_table(caption, own))
    return Section(
        "relearning",
        title,
        tables=tables,
        figures=[figure] if figure else [],
        missing="" if tables else why(audit, Topic.RELEARNING),
    )


def _relearned(shots: list[int], curves: dict[str, list[float]], audit: AuditRecord) -> Table:
    n = audit.request.test_samples
    rows = []
    for place, shot in enumerate(shots):
        read = [measured(known[place], n=n) for known in curves.values()]
        cells = [Cell(one.value, one.interval) for one in read]
        rows.append([Cell(thousands(shot)), *cells, Cell(thousands(n) if n else "unknown")])
    return Table(
        "Forgotten test samples recognised after training on a few examples: mean over draws",
        ["Examples", *(model.capitalize() for model in curves), "n"],
        rows,
    )


def _gradcam(audit: AuditRecord) -> Section:
    title = "Where the model looks (Grad-CAM)"
    pictures = audit.figures.gradcam
    if not pictures:
        return Section("gradcam", title, missing=why(audit, Topic.GRADCAM))
    shown = [_picture(one) for one in pictures]
    refused = sum(
        address != "" and not is_picture(address)
        for one in pictures
        for address in (one.image, one.before, one.after)
    )
    alert = f"Pictures left out because they are no PNG data: {refused}." if refused else ""
    drawn = [one for one in shown if one is not None]
    return Section("gradcam", title, [_PERSONAL] if drawn else [], alert, figures=drawn)


def _picture(one: GradcamPicture) -> Figure | None:
    caption = literal(one.caption, 120)
    named = (("Image", one.image), ("Before", one.before), ("After erasing", one.after))
    panels = [
        Panel(name, image=address, alt=f"{name}: {caption}")
        for name, address in named
        if is_picture(address)
    ]
    if not panels:
        return None
    return Figure(upper(caption) or "Example", _ILLUSTRATES, panels.copy, pictures=True)


def is_picture(address: str) -> bool:
    """Whether an address is a PNG inside the page and nothing else."""
    return _PICTURE.fullmatch(address) is not None
