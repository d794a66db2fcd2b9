"""The end of a report: what was not run, how to read the words, and the record of settings and
hashes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from unspan.report.document import Cell, Section, Table, rows, said, table
from unspan.report.formatting import literal, number, percent
from unspan.report.rule import (
    ERASED,
    ERASED_BELOW,
    INCONCLUSIVE,
    NOT_MEASURABLE,
    RETAINED,
    RETAINED_ABOVE,
    ROOM,
)

_PATH = re.compile(
    r"^(?:~|/|\\\\|[A-Za-z]:[\\/]|file:)|://[^/\s]*@|(?:^|[^\w.])/(?:home|root|Users|tmp|var|mnt|media|data)/"
)


def not_run(audit: Mapping[str, Any]) -> Section:
    """Every audit that was left out, and why."""
    lines = [
        [Cell(said(one, "name", 120)), Cell(said(one, "why") or "no reason was recorded")]
        for one in rows(audit, "not_run")
    ]
    if not lines:
        return Section(
            "not-run",
            "What was not run",
            ["The audit records nothing that was left out of this kind of audit."],
        )
    return Section(
        "not-run",
        "What was not run",
        ["Nothing is claimed about these."],
        tables=[Table("Audits that were not run, and why", ["Audit", "Why"], lines)],
    )


def how(audit: Mapping[str, Any]) -> Section:
    """The words of the report, with the thresholds of the rule."""
    rule = table(table(audit, "settings"), "rule")
    below, above, space = (
        default if (own := number(rule.get(key))) is None else own
        for key, default in (
            ("erased_below", ERASED_BELOW),
            ("retained_above", RETAINED_ABOVE),
            ("room", ROOM),
        )
    )
    lines = [
        [
            Cell("Interval"),
            Cell(
                "The range in brackets, for a confidence of 95\u00a0%: if the audit were repeated"
                " with other test samples, about 95 of 100 such ranges would hold the true value."
            ),
        ],
        [
            Cell("n"),
            Cell(
                "How many test samples are behind a number. A low value among few samples says"
                " little: that is why the interval stands beside it."
            ),
        ],
        [
            Cell("Reference"),
            Cell(
                "A model, or the plain images, that never learned what was to be erased. It is the"
                " fair zero: even such a model can often tell the samples apart."
            ),
        ],
        [
            Cell("Recoverable part"),
            Cell(
                "How much of what the original gave away beyond the reference the erased model"
                " still gives away: (after − reference) / (before − reference)."
            ),
        ],
        [
            Cell("AUC"),
            Cell("How well two groups are told apart: 0.5 is guessing, 1 is without error."),
        ],
        [
            Cell(RETAINED, "", "no"),
            Cell(
                "For at least one attack, the whole interval of the recoverable part is at or"
                f" above {percent(above, 0)}, also after correction for the number of attacks."
            ),
        ],
        [
            Cell(ERASED, "", "yes"),
            Cell(
                "For every attack that could be measured, the whole interval of the recoverable"
                f" part is at or below {percent(below, 0)}; no other attack reads more than the"
                " reference."
            ),
        ],
        [
            Cell(INCONCLUSIVE, "", "open"),
            Cell("Neither of the two: more test samples or more references are needed."),
        ],
        [
            Cell(NOT_MEASURABLE, "", "none"),
            Cell(
                f"Original and reference are less than {100 * space:.0f} points apart, so the"
                " attack cannot tell."
            ),
        ],
    ]
    return Section(
        "how",
        "How to read this report",
        tables=[Table("Words used in this report", ["Word", "Meaning"], lines)],
    )


def record(audit: Mapping[str, Any]) -> Section:
    """Settings, hashes, versions and times."""
    request = table(audit, "request")
    facts: list[tuple[str, Any]] = [
        ("created", audit.get("created")),
        ("schema", audit.get("schema")),
        ("reference", table(audit, "reference").get("kind")),
        ("seal", audit.get("seal")),
    ]
    if request.get("kind") == "class" and isinstance(request.get("selector"), list):
        facts += [("class to be forgotten", one) for one in request["selector"]]
    sources = [
        ("Request and audit", facts),
        *(
            (name.capitalize(), _flat(audit.get(name)))
            for name in ("hashes", "settings", "versions", "seconds")
        ),
    ]
    tables = []
    for caption, source in sources:
        lines = [
            [Cell(literal(name, 120)), Cell(_setting(value))]
            for name, value in source
            if value is not None
        ]
        if lines:
            tables.append(Table(caption, ["Name", "Value"], lines))
    earlier = [
        [
            Cell(said(one, "verdict") or "not finished"),
            Cell(said(one, "after", 80)),
            Cell(said(one, "config", 80)),
        ]
        for one in rows(audit, "attempts")
    ]
    if earlier:
        tables.append(
            Table(
                "Other audits of this request in the log of the cache: other models or settings",
                ["Verdict", "Erased model", "Settings"],
                earlier,
            )
        )
    return Section(
        "record",
        "Settings and hashes",
        [
            "The hashes say which files this report is about: compare them with those of the model"
            " in use."
        ],
        tables=tables,
        folded=True,
    )


def _flat(value: Any, name: str = "", depth: int = 0) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping) and depth < 6:
        return [
            one
            for key, inner in sorted(value.items(), key=lambda pair: str(pair[0]))
            for one in _flat(inner, f"{name}.{key}" if name else str(key), depth + 1)
        ]
    if isinstance(value, list) and depth < 6:
        if len(value) <= 20 and not any(isinstance(one, (Mapping, list)) for one in value):
            return [(name, ", ".join(_setting(one) for one in value))] if value else []
        return [
            one
            for i, inner in enumerate(value[:50])
            for one in _flat(inner, f"{name}.{i}", depth + 1)
        ]
    return [(name or "value", value)]


def _setting(value: Any) -> str:
    """A setting; where files lie is nobody's business and may name a person."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return "(a path, left out)" if _PATH.search(text) else literal(text, 400)
