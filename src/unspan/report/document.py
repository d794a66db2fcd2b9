"""What a report is made of, whatever it is written in: cells, tables, figures, sections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from unspan.audit_record.record import AuditRecord
from unspan.audit_record.vocabulary import Topic, Verdict
from unspan.report.formatting import literal, upper

MARK = {
    Verdict.LIKE_RETRAINED: "yes",
    Verdict.BELOW_RETRAINED: "yes",
    Verdict.RETAINED: "no",
    Verdict.INCONCLUSIVE: "open",
    Verdict.NOT_MEASURABLE: "none",
}
LONGEST = 600  # characters of a sentence


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: what it says.
        sub: a second, smaller line.
        mark: `yes`, `no`, `open`, `forget` or empty: adds colour and a sign to the words, never
            replaces them.
    """

    text: str
    sub: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """A table; the first cell of a row is its header.

    Attributes:
        caption: what it shows.
        columns: column headers.
        rows: of cells, as long as the columns.
        long: shown folded on screen, open in print.
    """

    caption: str
    columns: list[str]
    rows: list[list[Cell]]
    long: bool = False


@dataclass(frozen=True)
class Panel:
    """One drawing of a figure: inline SVG of our own making, or a checked picture.

    Attributes:
        title: above the drawing.
        svg: markup without scripts or references.
        image: a `data:image/png` address.
        alt: what the picture shows.
    """

    title: str
    svg: str = ""
    image: str = ""
    alt: str = ""


@dataclass(frozen=True)
class Figure:
    """Panels with one caption.

    Attributes:
        title: what it shows.
        caption: how to read it.
        draw: gives the drawings, left to right; called only where they are shown.
        pictures: the panels are small pictures, not drawings.
    """

    title: str
    caption: str
    draw: Callable[[], list[Panel]]
    pictures: bool = False


@dataclass(frozen=True)
class Listing:
    """A titled list of sentences.

    Attributes:
        title: above the list.
        lines: sentences.
        basis: what every sentence rests on, printed with each.
    """

    title: str
    lines: list[str]
    basis: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        key: its anchor.
        title: heading.
        lead: paragraphs before the tables.
        alert: a warning that must be seen.
        listings: lists of sentences.
        tables: tables.
        figures: figures.
        missing: why there is nothing, when nothing was measured.
        folded: in a details block, open at first.
    """

    key: str
    title: str
    lead: list[str] = field(default_factory=list)
    alert: str = ""
    listings: list[Listing] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    missing: str = ""
    folded: bool = False


def sentences(lines: Sequence[str]) -> list[str]:
    """Texts of an audit as literal lines."""
    return [upper(literal(one, LONGEST)) for one in lines if one.strip()]


def said(text: str) -> str:
    """A text of an audit as one literal line."""
    return literal(text, LONGEST)


def why(audit: AuditRecord, topic: Topic) -> str:
    """Why a part of an audit was not run: the first reason recorded for it."""
    for one in audit.not_run:
        if topic in one.topics and one.why:
            return f"Not run: {said(one.why)}"
    return "Not run; no reason was recorded."
