"""Sections made of scores: a table with one row for each score and one column for each model."""

from __future__ import annotations

from collections.abc import Mapping

from unspan.audit_record.drawings import ClassAccuracy
from unspan.audit_record.record import AuditRecord
from unspan.audit_record.results import AttackResult, ScoreRow
from unspan.audit_record.vocabulary import RETAINED, ScoreGroup, Topic
from unspan.metrics.identity import AttackKind, ScoreKind
from unspan.report import dumbbells, figures, maps
from unspan.report.document import (
    Cell,
    Figure,
    Section,
    Table,
    count_cell,
    number_cell,
    said,
    why,
)
from unspan.report.formatting import (
    BETTER,
    Measured,
    joined,
    literal,
    measured,
    thousands,
    upper,
)
from unspan.report.words.parts import Part
from unspan.report.words.rest import Rest

Rows = list[ScoreRow]
GROUPS = {  # group: title, first paragraph, caption
    ScoreGroup.MEMBERSHIP: (
        Part.MEMBERSHIP_TITLE.value,
        Part.MEMBERSHIP_LEAD.value,
        Part.MEMBERSHIP_CAPTION.value,
    ),
    ScoreGroup.LEAKAGE: (
        Part.LEAKAGE_TITLE.value,
        Part.LEAKAGE_LEAD.value,
        Part.LEAKAGE_CAPTION.value,
    ),
    ScoreGroup.CAST: (
        Part.CAST_TITLE.value,
        Part.CAST_LEAD.value,
        Part.CAST_CAPTION.value,
    ),
    ScoreGroup.STABILITY: (
        Part.STABILITY_TITLE.value,
        Part.STABILITY_LEAD.value,
        Part.STABILITY_CAPTION.value,
    ),
    ScoreGroup.REPRESENTATION: (
        Part.MOVED_TITLE.value,
        Part.MOVED_LEAD.value,
        Part.MOVED_CAPTION.value,
    ),
}


def grouped(audit: AuditRecord) -> dict[ScoreGroup, Rows]:
    """The scores of each group."""
    found: dict[ScoreGroup, Rows] = {}
    for one in audit.scores:
        found.setdefault(one.group, []).append(one)
    return found


def groups(audit: AuditRecord, scores: Mapping[ScoreGroup, Rows]) -> list[Section]:
    """A section for each group of `GROUPS` and one for the layers, also where nothing was run."""
    found = []
    for group, (title, lead, caption) in GROUPS.items():
        own = scores.get(group, [])
        tables = [score_table(caption, own)] if own else []
        pictures = _pictures(audit) if group is ScoreGroup.REPRESENTATION else []
        found.append(_section(audit, Topic(group.value), title, lead, tables, pictures))
    sweep = dumbbells.sweep(audit)
    drawn = [sweep] if sweep else []
    lead = Part.LAYERS_LEAD.value
    layers = _section(audit, Topic.SWEEP, Part.LAYER_BY_LAYER.value, lead, _layers(audit), drawn)
    return [*found, layers]


def _section(
    audit: AuditRecord,
    topic: Topic,
    title: str,
    lead: str,
    tables: list[Table],
    pictures: list[Figure],
) -> Section:
    if not tables and not pictures:
        return Section(topic.value, title, missing=why(audit, topic))
    return Section(topic.value, title, [lead], tables=tables, figures=pictures, folded=True)


def _pictures(audit: AuditRecord) -> list[Figure]:
    drawn = [maps.cosine(audit), maps.embedding(audit), figures.layer_change(audit)]
    return [one for one in drawn if one is not None]


def _layers(audit: AuditRecord) -> list[Table]:
    """What a probe reads at earlier layers."""
    lines = []
    for one in audit.figures.sweep:
        read = [measured(value) for value in (one.before, one.after, one.reference)]
        lines.append([Cell(literal(one.layer, 60)), *map(number_cell, read)])
    if not lines:
        return []
    return [
        Table(
            Part.LAYERS_CAPTION.value,
            [Part.LAYER.value, Part.BEFORE.value, Part.AFTER_ERASING.value, Part.REFERENCE.value],
            lines,
        )
    ]


def score_table(caption: str, found: Rows) -> Table:
    """Scores with one row for each name and split."""
    models = _models(found)
    lines: dict[tuple[str, str], dict[str, ScoreRow]] = {}
    for one in found:
        own = lines.setdefault((literal(one.name, 120), literal(one.split, 60)), {})
        own[literal(one.model, 40)] = one
    titles = [_title(model, models) for model in models]
    rows = [_line(name, split, own, models) for (name, split), own in lines.items()]
    return Table(caption, [Part.SCORE.value, Part.SAMPLES.value, *titles, "n"], rows)


def _line(name: str, split: str, own: Mapping[str, ScoreRow], models: list[str]) -> list[Cell]:
    values = {model: _value(one) for model, one in own.items()}
    notes = dict.fromkeys(said(one.note) for one in own.values())
    sizes = dict.fromkeys(thousands(value.n) for value in values.values() if value.n)
    better = BETTER[next(iter(own.values())).better]
    cells = [Cell("–", number=True)] * len(models)
    for place, model in enumerate(models):
        if model in values:
            cells[place] = number_cell(values[model])
    return [
        Cell(name, joined(better, *notes)),
        Cell(split or "all"),
        *cells,
        Cell(" / ".join(sizes) or "–", number=True),
    ]


def _models(found: Rows) -> list[str]:
    seen = list(dict.fromkeys(literal(one.model, 40) for one in found))
    return [one for one in ("before", "after") if one in seen] + [
        one for one in seen if one not in ("before", "after")
    ]


def _title(model: str, models: list[str]) -> str:
    if model == "reference 1" and "reference 2" not in models:
        return Part.REFERENCE.value
    return upper(model) or Part.MODEL.value


def _value(one: ScoreRow) -> Measured:
    return measured(one.value, one.low, one.high, one.unit, one.n, hits=False)


def published(audit: AuditRecord, scores: Mapping[ScoreGroup, Rows]) -> Section:
    """Scores as printed in papers, and what an attack that runs to its end says beside them."""
    title = Part.PUBLISHED_TITLE.value
    found = scores.get(ScoreGroup.PUBLISHED, [])
    if not found:
        missing = why(audit, Topic.PUBLISHED)
        return Section("published", title, missing=missing, contents=Rest.MORE_SHORT.value)
    caption = Part.PUBLISHED_CAPTION.value
    lead = [Part.PUBLISHED_LEAD.value, *_beside(audit, found)]
    return Section(
        "published",
        title,
        lead,
        tables=[score_table(caption, found)],
        folded=True,
        contents=Rest.MORE_SHORT.value,
    )


def _beside(audit: AuditRecord, found: Rows) -> list[str]:
    """A published score that would look like an erasure, and an attack that reads more."""
    low = [
        one
        for one in found
        if one.model == "after"
        and one.better == "lower"
        and one.unit == "share"
        and one.value is not None
    ]
    strong = [one for one in audit.attacks if one.verdict is RETAINED and one.unit == "share"]
    if not low or not strong:
        return []
    score = min(low, key=lambda one: ("test" not in one.split, one.kind is not ScoreKind.KR))
    attack = min(strong, key=_linear_first)
    if attack.erased - (score.value or 0.0) < 0.1:
        return []
    read = measured(attack.erased, attack.erased_low, attack.erased_high, attack.unit, attack.n)
    return [
        Part.PUBLISHED_BESIDE.format(
            score=literal(score.name, 80),
            low=_value(score).line,
            attack=literal(attack.attack, 80),
            read=read.line,
        )
    ]


def _linear_first(one: AttackResult) -> tuple[bool, bool]:
    kind = one.identity.kind
    return kind is not AttackKind.LINEAR, kind is not AttackKind.LINEAR_WHITENED


def utility(audit: AuditRecord, scores: Mapping[ScoreGroup, Rows]) -> Section:
    """What the model itself names, and what the erasure cost the other classes."""
    captions = {
        ScoreGroup.OUTPUT: Part.OUTPUT_CAPTION.value,
        ScoreGroup.UTILITY: Part.UTILITY_CAPTION.value,
    }
    tables = [
        score_table(caption, scores[group])
        for group, caption in captions.items()
        if scores.get(group)
    ]
    classes = audit.figures.per_class
    if classes:
        tables.append(
            Table(
                Part.CLASSES_CAPTION.value,
                [Part.CLASS.value, Part.BEFORE.value, Part.AFTER.value, Part.POINTS.value, "n"],
                [_class_line(one) for one in classes],
                long=len(classes) > 12,
            )
        )
    figure = figures.per_class(audit)
    return Section(
        "utility",
        Part.UTILITY_TITLE.value,
        _worst(classes),
        tables=tables,
        figures=[figure] if figure else [],
        missing="" if tables else why(audit, Topic.UTILITY),
        folded=bool(tables),
        contents=Part.COST.value,
    )


def _class_line(one: ClassAccuracy) -> list[Cell]:
    before = measured(one.before, n=one.n)
    after = measured(one.after, one.low, one.high, "share", one.n)
    points = f"{100 * (one.after - one.before):+.1f}".replace("-", "−")
    if points in ("+0.0", "−0.0"):
        points = "0.0"
    mark = "forget" if one.forget else ""
    return [
        Cell(literal(one.name, 60), Part.FORGOTTEN.value if one.forget else "", mark),
        number_cell(before),
        number_cell(after),
        Cell(points, number=True),
        count_cell(one.n),
    ]


def _worst(classes: list[ClassAccuracy]) -> list[str]:
    kept = [one for one in classes if not one.forget]
    if not kept:
        return []
    worst = min(kept, key=lambda one: one.after - one.before)
    if worst.after >= worst.before:
        return [Part.NONE_LOST.value]
    before = measured(worst.before, n=worst.n)
    after = measured(worst.after, worst.low, worst.high, "share", worst.n)
    return [
        Part.LARGEST_LOSS.format(name=literal(worst.name, 60), before=before.line, after=after.line)
    ]
