"""Everything below the first screen of a report: one section for each question a reader may
have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from unspan.audit_record.drawings import GradcamPicture
from unspan.audit_record.record import AuditRecord
from unspan.audit_record.vocabulary import ScoreGroup, Topic
from unspan.report import appendix, attacks, auditor, claims, figures, scores
from unspan.report.document import (
    Cell,
    Figure,
    Panel,
    Section,
    Table,
    count_cell,
    number_cell,
    why,
)
from unspan.report.formatting import literal, measured, thousands, upper
from unspan.report.words.parts import Part

_PICTURE = re.compile(r"data:image/png;base64,iVBORw0KGgo[A-Za-z0-9+/]{20,4000000}={0,2}")


def sections(audit: AuditRecord, against: str) -> list[Section]:
    """All sections, in reading order. A new section of the report is entered here.

    Args:
        audit: the record.
        against: the reference in words.
    """
    found = scores.grouped(audit)
    return [
        attacks.attacks(audit, against),
        claims.levels(audit, against),
        *claims.goals(audit),
        claims.controls(audit),
        scores.utility(audit, found),
        scores.published(audit, found),
        _relearning(audit, found),
        *scores.groups(audit, found),
        _gradcam(audit),
        auditor.auditor(audit),
        appendix.not_run(audit),
        appendix.how(audit),
        appendix.files(audit),
        appendix.settings(audit),
    ]


def _relearning(audit: AuditRecord, found: Mapping[ScoreGroup, scores.Rows]) -> Section:
    title = Part.RELEARNING_TITLE.value
    own = found.get(ScoreGroup.RELEARNING, [])
    tables = []
    curves = audit.figures.relearn
    figure = figures.relearn(audit)
    if figure is not None and curves is not None:
        tables.append(_relearned(curves.shots, figures.relearned(audit), audit))
    if own:
        caption = Part.NEEDED_CAPTION.value
        tables.append(scores.score_table(caption, own))
    return Section(
        "relearning",
        title,
        tables=tables,
        figures=[figure] if figure else [],
        missing="" if tables else why(audit, Topic.RELEARNING),
        folded=bool(tables),
    )


def _relearned(shots: list[int], curves: dict[str, list[float]], audit: AuditRecord) -> Table:
    n = audit.request.test_samples
    rows = []
    for place, shot in enumerate(shots):
        read = [measured(known[place], n=n) for known in curves.values()]
        rows.append([Cell(thousands(shot)), *map(number_cell, read), count_cell(n)])
    return Table(
        Part.RELEARNED_CAPTION.value,
        [Part.EXAMPLES.value, *(model.capitalize() for model in curves), "n"],
        rows,
    )


def _gradcam(audit: AuditRecord) -> Section:
    title = Part.IMAGES_TITLE.value
    pictures = audit.figures.gradcam
    if not pictures:
        return Section("gradcam", title, missing=why(audit, Topic.GRADCAM))
    shown = [_picture(one) for one in pictures]
    refused = sum(
        address != "" and not is_picture(address)
        for one in pictures
        for address in (one.image, one.before, one.after)
    )
    alert = Part.PICTURES_LEFT_OUT.format(refused=refused) if refused else ""
    drawn = [one for one in shown if one is not None]
    lead = [Part.PERSONAL.value] if drawn else []
    return Section("gradcam", title, lead, alert, figures=drawn, folded=True)


def _picture(one: GradcamPicture) -> Figure | None:
    caption = literal(one.caption, 120)
    named = (
        (Part.IMAGE.value, one.image),
        (Part.BEFORE.value, one.before),
        (Part.AFTER_ERASING.value, one.after),
    )
    panels = [
        Panel(name, image=address, alt=f"{name}: {caption}")
        for name, address in named
        if is_picture(address)
    ]
    if not panels:
        return None
    return Figure(
        upper(caption) or Part.EXAMPLE.value, Part.ILLUSTRATES.value, panels.copy, pictures=True
    )


def is_picture(address: str) -> bool:
    """Whether an address is a PNG inside the page and nothing else."""
    return _PICTURE.fullmatch(address) is not None
