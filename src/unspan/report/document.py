"""What a report is made of, whatever it is written in: cells, tables, figures, sections; and safe
reading of the audit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from unspan.report.formatting import literal, upper
from unspan.report.rule import Topic


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


def rows(audit: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The dicts in a list of the audit; anything else in their place is left out."""
    found = audit.get(key)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def table(audit: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A dict of the audit, empty when there is none."""
    found = audit.get(key)
    return found if isinstance(found, Mapping) else {}


def sentences(audit: Mapping[str, Any], key: str) -> list[str]:
    """The texts in a list of the audit, as literal lines."""
    found = audit.get(key)
    return (
        [upper(literal(one, 600)) for one in found if isinstance(one, str) and one.strip()]
        if isinstance(found, list)
        else []
    )


def said(source: Mapping[str, Any], key: str, limit: int = 600) -> str:
    """A text of the audit as one literal line, empty when there is none."""
    found = source.get(key)
    return (
        literal(found, limit)
        if isinstance(found, (str, int, float)) and not isinstance(found, bool)
        else ""
    )


def why(audit: Mapping[str, Any], topic: Topic) -> str:
    """Why a part of an audit was not run: the first reason recorded for it."""
    for one in rows(audit, "not_run"):
        topics = one.get("topics")
        if isinstance(topics, list) and topic.value in topics and said(one, "why"):
            return f"Not run: {said(one, 'why')}"
    return "Not run; no reason was recorded."
