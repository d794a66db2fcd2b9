"""The report as one HTML file: nothing is loaded, nothing runs, every text from data is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from unspan.report.palette import DARK, LIGHT, variables
from unspan.report.view import view

SIGNS = {"yes": "✓", "no": "✗", "open": "?", "none": "–", "forget": "▸"}


def environment() -> Environment:
    """The template engine: escaping is on for every template, a missing name is an error."""
    engine = Environment(
        loader=PackageLoader("unspan.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    engine.filters["own"] = _own
    return engine


def html(audit: Mapping[str, Any]) -> str:
    """One self-contained HTML page.

    Args:
        audit: content of `audit.json`.

    Raises:
        UsageError: this is not an audit, or one of a later version.
    """
    page = environment().get_template("page.html.j2")
    return page.render(
        view=view(audit), light=Markup(variables(LIGHT)), dark=Markup(variables(DARK)), signs=SIGNS
    )


def _own(text: str) -> Markup:
    """Text from data, kept apart from the writing direction of what surrounds it."""
    return Markup("<bdi>") + escape(text) + Markup("</bdi>")
