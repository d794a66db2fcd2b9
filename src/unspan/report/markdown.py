"""The report as Markdown: the same words and tables without drawings, for a repository or a
ticket.
"""

from __future__ import annotations

from collections.abc import Sequence

from unspan.audit_record.record import AuditRecord
from unspan.report.document import Cell, Section, Table
from unspan.report.formatting import literal
from unspan.report.view import view
from unspan.report.who import Bar
from unspan.report.words.first import First

_SAFE = {"&": "&amp;", "<": "&lt;", ">": "&gt;", **{mark: f"\\{mark}" for mark in "\\|`*_[]#~$!"}}


def markdown(audit: AuditRecord) -> str:
    """The report as one Markdown text.

    Args:
        audit: the record.
    """
    seen = view(audit)
    lines = [
        f"# {plain(First.TITLE.value)}: {plain(seen.conclusion)}",
        "",
        *(f"- **{plain(one.name)}**: {plain(one.value)}" for one in seen.identity),
        "",
        plain(seen.meaning),
        "",
        *(f"- **{plain(one.name)}**: {plain(one.value)}" for one in seen.facts),
        "",
        *(line for notice in (*seen.warnings, *seen.notes) for line in (_warning(notice), "")),
        *_heading(First.WHO),
        *(grid(seen.accesses) if seen.accesses.rows else [plain(First.NO_ANSWERS.value), ""]),
        *_heading(First.BARS),
        plain(seen.bars_of),
        "",
        *(f"- {plain(one.name)}: {plain(joined_bar(one))}" for one in seen.bars),
        "",
        plain(seen.headline),
        *_list(First.COST, seen.cost),
        *_list(First.NEXT, seen.next_steps),
        *_list(First.MAY, seen.may_say),
        *_list(First.MAY_NOT, seen.may_not_say),
    ]
    for section in seen.sections:
        lines += ["", f"## {plain(section.title)}", "", *_section(section)]
    return "\n".join([*lines, "", plain(First.FOOTER.value), ""])


def _heading(title: First) -> list[str]:
    return ["", f"## {plain(title.value)}", ""]


def _list(title: First, found: Sequence[str]) -> list[str]:
    return [*_heading(title), *(f"- {plain(one)}" for one in found)]


def _warning(text: str) -> str:
    return f"> **{plain(First.WARNING.value)}** {plain(text)}"


def joined_bar(one: Bar) -> str:
    """Value and interval of a bar."""
    return f"{one.value} {one.interval}".strip()


def plain(text: str) -> str:
    """One line of literal text in Markdown and in HTML."""
    return "".join(_SAFE.get(c, c) for c in literal(text))


def _section(section: Section) -> list[str]:
    lines = [_warning(section.alert), ""] if section.alert else []
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
