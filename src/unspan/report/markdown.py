"""The report as Markdown: the same words and tables without drawings, for a repository or a
ticket.
"""

from __future__ import annotations

from unspan.audit_record.record import AuditRecord
from unspan.report.document import Cell, Section, Table
from unspan.report.formatting import joined, literal
from unspan.report.view import view

_SAFE = {"&": "&amp;", "<": "&lt;", ">": "&gt;", **{mark: f"\\{mark}" for mark in "\\|`*_[]#~$!"}}


def markdown(audit: AuditRecord) -> str:
    """The report as one Markdown text.

    Args:
        audit: the record.
    """
    seen = view(audit)
    lines = [
        f"# Audit of a deletion: {seen.verdict}",
        "",
        plain(seen.meaning),
        "",
        plain(seen.levels),
        "",
        *(line for notice in seen.notices for line in (f"> **Warning.** {plain(notice)}", "")),
        f"- **What was asked**: {plain(joined(seen.asked, seen.tested))}",
        (
            "- **What an attacker can still do**:"
            f" {plain(seen.headline or seen.missing or 'see the table')}"
        ),
    ]
    if seen.strongest:
        best = seen.strongest
        lines.append(
            f"- **Strongest attack**: {plain(best.attack)}: {plain(best.after.line)}; before"
            f" {plain(best.before.line)}; reference ({plain(seen.reference)})"
            f" {plain(best.reference.line)}; recoverable part {plain(best.part.line)}"
        )
    if seen.next_steps:
        lines.append(f"- **Next step**: {plain(seen.next_steps[0])}")
    for section in seen.sections:
        lines += ["", f"## {plain(section.title)}", "", *_section(section)]
    return "\n".join([*lines, "", "Measured facts and their limits, not legal advice.", ""])


def plain(text: str) -> str:
    """One line of literal text in Markdown and in HTML."""
    return "".join(_SAFE.get(c, c) for c in literal(text))


def _section(section: Section) -> list[str]:
    lines = [f"> **Warning.** {plain(section.alert)}", ""] if section.alert else []
    lines += [
        line for text in (section.missing, *section.lead) if text for line in (plain(text), "")
    ]
    for table in section.tables:
        lines += grid(table)
    for listing in section.listings:
        lines += [
            f"**{plain(listing.title)}**",
            "",
            *(
                f"- {plain(line)}" + (f" ({plain(listing.basis)})" if listing.basis else "")
                for line in listing.lines
            ),
            "",
        ]
    return lines[:-1] if lines and not lines[-1] else lines


def grid(table: Table) -> list[str]:
    """Lines of a table, a blank one last."""
    head = [
        f"| {' | '.join(plain(name) for name in table.columns)} |",
        f"|{'---|' * len(table.columns)}",
    ]
    return [
        f"**{plain(table.caption)}**",
        "",
        *head,
        *(f"| {' | '.join(_cell(one) for one in row)} |" for row in table.rows),
        "",
    ]


def _cell(cell: Cell) -> str:
    sub = plain(cell.sub)
    return plain(cell.text) + (
        f" {sub}" if cell.sub.startswith("[") else f" ({sub})" if sub else ""
    )
