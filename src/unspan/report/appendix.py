"""The end of a report: what was not run, how to read the words, and the record of settings and
hashes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from unspan.audit_record.record import AuditRecord, EarlierAudit, Rule
from unspan.audit_record.vocabulary import Verdict
from unspan.report.document import MARK, Cell, Section, Table, said
from unspan.report.formatting import literal, percent
from unspan.report.words.rest import Rest

_WORDS = {
    "Interval": (
        "The range in brackets, for a confidence of 95\u00a0%: if the audit were repeated with"
        " other test samples, about 95 of 100 such ranges would hold the true value."
    ),
    "n": (
        "How many test samples are behind a number. A low value among few samples says little:"
        " that is why the interval stands beside it."
    ),
    "Reference": (
        "A model, or the plain images, that never learned what was to be erased. It is the fair"
        " zero: even such a model can often tell the samples apart."
    ),
    "Recoverable part": (
        "How much of what the original gave away beyond the reference the erased model still gives"
        " away: (after − reference) / (before − reference). Shown between 0 and 100\u00a0%."
    ),
    "AUC": "How well two groups are told apart: 0.5 is guessing, 1 is without error.",
}
_PATH = re.compile(
    r"^(?:~|/|\\\\|[A-Za-z]:[\\/]|file:)|://[^/\s]*@"
    r"|(?:^|[^\w.])/(?:home|root|Users|tmp|var|mnt|media|data)/"
)


def not_run(audit: AuditRecord) -> Section:
    """Every audit that was left out, and why."""
    title = "What was not run"
    if not audit.not_run:
        nothing = "The audit records nothing that was left out of this kind of audit."
        return Section("not-run", title, [nothing], contents=Rest.NOT_RUN_SHORT.value)
    rows = [
        [Cell(literal(one.name, 120)), Cell(said(one.why) or "no reason was recorded")]
        for one in audit.not_run
    ]
    table = Table("Audits that were not run, and why", ["Audit", "Why"], rows)
    return Section(
        "not-run",
        title,
        ["Nothing is claimed about these."],
        tables=[table],
        folded=True,
        contents=Rest.NOT_RUN_SHORT.value,
    )


def how(audit: AuditRecord) -> Section:
    """The words of the report, with the thresholds of the rule."""
    rows = [[Cell(word), Cell(meaning)] for word, meaning in _WORDS.items()]
    for verdict, meaning in _verdicts(audit.settings.rule).items():
        rows.append([Cell(verdict, "", MARK[verdict]), Cell(meaning)])
    table = Table("Words used in this report", ["Word", "Meaning"], rows)
    return Section(
        "how",
        "How to read this report",
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
    rows = [
        [Cell(role), Cell(_setting(one.name)), Cell(literal(one.sha256, 64))]
        for role, one in named
        if one is not None
    ]
    columns = [Rest.ROLE.value, Rest.FILE.value, Rest.FILE_HASH.value]
    tables = [Table(Rest.FILES_CAPTION.value, columns, rows)] if rows else []
    contents = [
        (Rest.OF_TENSORS.format(model=Rest.OF_ERASED.value), hashes.after),
        (Rest.OF_TENSORS.format(model=Rest.OF_ORIGINAL.value), hashes.before),
    ]
    for place, one in enumerate(hashes.reference):
        model = Rest.OF_REFERENCE.format(number=place + 1)
        contents.append((Rest.OF_TENSORS.format(model=model), one))
    contents += [
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


def _verdicts(rule: Rule) -> dict[Verdict, str]:
    above, guessing = percent(rule.retained_above, 0), percent(rule.guessing, 0)
    return {
        Verdict.RETAINED: (
            "One kind of attacker reads more than one more retrained network would give away, by at"
            f" least {above} of the way to the original. Without retrained networks: the model"
            " itself still names what was forgotten."
        ),
        Verdict.LIKE_RETRAINED: (
            "What every kind of attacker reads lies where one more retrained network would lie, and"
            " at least one kind would have seen the difference to the original."
        ),
        Verdict.BELOW_RETRAINED: (
            "No kind of attacker reads more than that, and one reads less than any network that"
            " never learned it would give away: it is suppressed, and this is a trace. Without"
            f" retrained networks: no attacker gains more than {guessing} over guessing."
        ),
        Verdict.INCONCLUSIVE: (
            "Neither of them: retrained networks, more of them, or more test samples are needed."
        ),
        Verdict.NOT_MEASURABLE: (
            "Retrained networks differ so much, or give away so much, that nobody can tell them"
            " from the original by these attacks."
        ),
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
        facts += [("class to be forgotten", one) for one in request.selector]
    sources = [
        ("Request and audit", facts),
        ("Settings", _flat(asdict(audit.settings))),
        ("Versions", _flat(audit.versions)),
        ("Seconds", _flat(audit.seconds)),
    ]
    tables = []
    for caption, source in sources:
        rows = [
            [Cell(literal(name.replace("_", " "), 120)), Cell(_setting(value))]
            for name, value in source
            if value is not None
        ]
        if rows:
            tables.append(Table(caption, ["Name", "Value"], rows))
    if audit.attempts:
        tables.append(_earlier(audit.attempts))
    return Section("record", "Settings and versions", tables=tables, folded=True)


def _earlier(attempts: list[EarlierAudit]) -> Table:
    rows = [
        [
            Cell(one.verdict or "not finished"),
            Cell(literal(one.after, 80)),
            Cell(literal(one.config, 80)),
        ]
        for one in attempts
    ]
    return Table(
        "Other audits of this request in the log of the cache: other models or settings",
        ["Verdict", "Erased model", "Settings"],
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
