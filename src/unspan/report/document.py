"""What a report is made of, whatever it is written in: cells, tables, figures, sections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from unspan.audit_record.record import AuditRecord
from unspan.audit_record.vocabulary import Topic, Verdict
from unspan.report.formatting import Measured, literal, thousands, upper
from unspan.report.words.codes import LEFT_OUT_WHY
from unspan.report.words.parts import Part

MARK = {
    Verdict.LIKE_RETRAINED: "yes",
    Verdict.BELOW_RETRAINED: "part",
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
        mark: `yes`, `no`, `part`, `open`, `forget` or empty: adds colour and a sign to the words,
            never replaces them.
        number: it holds a number, which stands to the right.
    """

    text: str
    sub: str = ""
    mark: str = ""
    number: bool = False


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

    def is_number(self, place: int) -> bool:
        """Whether a column holds numbers, by its first row."""
        return bool(self.rows) and self.rows[0][place].number


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
        folded: in a details block, closed at first, open in print.
        contents: its name in the contents bar; empty for a part of the section before.
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
    contents: str = ""

    @property
    def is_empty(self) -> bool:
        """Nothing was measured for it."""
        return not (self.lead or self.listings or self.tables or self.figures)


def number_cell(read: Measured) -> Cell:
    """A measurement with its interval."""
    return Cell(read.value, read.interval, number=True)


def count_cell(n: int) -> Cell:
    """A number of samples."""
    return Cell(thousands(n) if n else "unknown", number=True)


def sentences(lines: Sequence[str]) -> list[str]:
    """Texts of an audit as literal lines."""
    return [upper(literal(one, LONGEST)) for one in lines if one.strip()]


def said(text: str) -> str:
    """A text of an audit as one literal line."""
    return literal(text, LONGEST)


def why(audit: AuditRecord, topic: Topic) -> str:
    """Why a part of an audit was not run: the first reason recorded for it."""
    for one in audit.not_run:
        if topic in one.topics:
            return Part.NOT_RUN_BECAUSE.format(why=LEFT_OUT_WHY[one.part])
    return Part.NOT_RUN_NO_REASON.value
