"""The end of a report: what was not run, how to read the words, and the record of settings and
hashes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from unspan.audit_record.circumstances import EarlierAudit, Rule
from unspan.audit_record.record import AuditRecord
from unspan.audit_record.vocabulary import Given, Verdict
from unspan.report.document import MARK, Cell, Section, Table
from unspan.report.formatting import literal, percent
from unspan.report.words.codes import LEFT_OUT, LEFT_OUT_WHY
from unspan.report.words.parts import Part
from unspan.report.words.rest import Rest

_WORDS = {
    Part.INTERVAL.value: (Part.INTERVAL_MEANS.value),
    "n": (Part.N_MEANS.value),
    Part.REFERENCE.value: (Part.REFERENCE_MEANS.value),
    Part.RECOVERABLE_PART.value: (Part.RECOVERABLE_MEANS.value),
    "AUC": Part.AUC_MEANS.value,
}
_PATH = re.compile(
    r"^(?:~|/|\\\\|[A-Za-z]:[\\/]|file:)|://[^/\s]*@"
    r"|(?:^|[^\w.])/(?:home|root|Users|tmp|var|mnt|media|data)/"
)


def not_run(audit: AuditRecord) -> Section:
    """Every audit that was left out, and why."""
    title = Part.NOT_RUN.value
    if not audit.not_run:
        nothing = Part.NOTHING_LEFT_OUT.value
        return Section("not-run", title, [nothing], contents=Rest.NOT_RUN_SHORT.value)
    rows = [[Cell(LEFT_OUT[one.part]), Cell(LEFT_OUT_WHY[one.part])] for one in audit.not_run]
    table = Table(Part.NOT_RUN_CAPTION.value, [Part.AUDIT.value, Part.WHY.value], rows)
    return Section(
        "not-run",
        title,
        [Part.NOT_RUN_LEAD.value],
        tables=[table],
        folded=True,
        contents=Rest.NOT_RUN_SHORT.value,
    )


def how(audit: AuditRecord) -> Section:
    """The words of the report, with the thresholds of the rule."""
    rows = [[Cell(word), Cell(meaning)] for word, meaning in _WORDS.items()]
    for verdict, meaning in _verdicts(audit.settings.rule).items():
        rows.append([Cell(verdict, "", MARK[verdict]), Cell(meaning)])
    table = Table(Part.WORDS_CAPTION.value, [Part.WORD.value, Part.MEANING.value], rows)
    return Section(
        "how",
        Part.WORDS_TITLE.value,
        tables=[table],
        folded=True,
        contents=Rest.WORDS_SHORT.value,
    )


def files(audit: AuditRecord) -> Section:
    """Which files the report is about, and what its other hashes are hashes of."""
    about, hashes = audit.identity, audit.hashes
    named = [(Rest.OF_ERASED.value, about.model), (Rest.OF_ORIGINAL.value, about.original)]
    for place, reference in enumerate(about.references):
        named.append((Rest.OF_REFERENCE.format(number=place + 1), reference))
    if about.given is Given.OUTPUTS:
        named = [(Rest.OUTPUTS_OF.format(model=role), one) for role, one in named]
    rows = [
        [Cell(role), Cell(_setting(one.name)), Cell(literal(one.sha256, 64))]
        for role, one in named
        if one is not None
    ]
    columns = [Rest.ROLE.value, Rest.FILE.value, Rest.FILE_HASH.value]
    tables = [Table(Rest.FILES_CAPTION.value, columns, rows)] if rows else []
    contents = [
        *_of_tensors(audit),
        (Rest.OF_TEST.value, hashes.test_data),
        (Rest.OF_FIT.value, hashes.fit_data),
        (Rest.OF_CONFIG.value, hashes.config),
        (Rest.OF_SEAL.value, audit.seal),
    ]
    held = [[Cell(what), Cell(_setting(value))] for what, value in contents if value]
    if held:
        heads = [Rest.OF_WHAT.value, Rest.HASH.value]
        tables.append(Table(Rest.HASHES_CAPTION.value, heads, held))
    lead = [Rest.FILES_LEAD.value if rows else Rest.NO_FILES.value, Rest.TENSOR_LEAD.value]
    return Section(
        "files",
        Rest.FILES.value,
        lead,
        tables=tables,
        folded=True,
        contents=Rest.FILES.value,
    )


def _of_tensors(audit: AuditRecord) -> list[tuple[str, str]]:
    """Hashes of the tensors of every model; none where only files of outputs were given."""
    if audit.identity.given is Given.OUTPUTS:
        return []
    hashes = audit.hashes
    found = [(Rest.OF_ERASED.value, hashes.after), (Rest.OF_ORIGINAL.value, hashes.before)]
    for place, one in enumerate(hashes.reference):
        found.append((Rest.OF_REFERENCE.format(number=place + 1), one))
    return [(Rest.OF_TENSORS.format(model=model), one) for model, one in found]


def _verdicts(rule: Rule) -> dict[Verdict, str]:
    above, guessing = percent(rule.retained_above, 0), percent(rule.guessing, 0)
    return {
        Verdict.RETAINED: (Part.MEANS_RETAINED.format(above=above)),
        Verdict.LIKE_RETRAINED: (Part.MEANS_LIKE_RETRAINED.value),
        Verdict.BELOW_RETRAINED: (Part.MEANS_BELOW_RETRAINED.format(guessing=guessing)),
        Verdict.INCONCLUSIVE: (Part.MEANS_INCONCLUSIVE.value),
        Verdict.NOT_MEASURABLE: (Part.MEANS_NOT_MEASURABLE.value),
    }


def settings(audit: AuditRecord) -> Section:
    """Settings, hashes, versions and times."""
    request = audit.request
    facts: list[tuple[str, Any]] = [
        ("created", audit.created),
        ("schema", audit.schema),
        ("reference", audit.reference.kind),
    ]
    if request.kind == "class":
        facts += [(Part.CLASS_FORGOTTEN.value, one) for one in request.selector]
    sources = [
        (Part.REQUEST_CAPTION.value, facts),
        (Part.SETTINGS.value, _flat(asdict(audit.settings))),
        (Part.VERSIONS.value, _flat(audit.versions)),
        (Part.SECONDS.value, _flat(audit.seconds)),
    ]
    tables = []
    for caption, source in sources:
        rows = [
            [Cell(literal(name.replace("_", " "), 120)), Cell(_setting(value))]
            for name, value in source
            if value is not None
        ]
        if rows:
            tables.append(Table(caption, [Part.NAME.value, Part.VALUE.value], rows))
    if audit.attempts:
        tables.append(_earlier(audit.attempts))
    return Section("record", Part.RECORD_TITLE.value, tables=tables, folded=True)


def _earlier(attempts: list[EarlierAudit]) -> Table:
    rows = [
        [
            Cell(one.verdict or Part.NOT_FINISHED.value),
            Cell(literal(one.after, 80)),
            Cell(literal(one.config, 80)),
        ]
        for one in attempts
    ]
    return Table(
        Part.ATTEMPTS_CAPTION.value,
        [Part.VERDICT.value, Part.ERASED_MODEL.value, Part.SETTINGS.value],
        rows,
    )


def _flat(source: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    """Names and values in alphabetical order; names of what lies inside are joined by a point."""
    found: list[tuple[str, Any]] = []
    for key, value in sorted(source.items()):
        name = f"{above}.{key}" if above else key
        if isinstance(value, Mapping):
            found += _flat(value, name)
        elif isinstance(value, list):
            found.append((name, ", ".join(map(_setting, value)) or None))
        else:
            found.append((name, value))
    return found


def _setting(value: Any) -> str:
    """A setting; where files lie is nobody's business and may name a person."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return "(a path, left out)" if _PATH.search(text) else literal(text, 400)
