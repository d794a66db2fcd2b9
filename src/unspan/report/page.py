"""The report as one HTML file: nothing is loaded, nothing runs, every text from data is escaped."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from unspan.audit_record.record import AuditRecord
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


def html(audit: AuditRecord) -> str:
    """One self-contained HTML page.

    Args:
        audit: the record.
    """
    page = environment().get_template("page.html.j2")
    return page.render(
        view=view(audit), light=Markup(variables(LIGHT)), dark=Markup(variables(DARK)), signs=SIGNS
    )


def _own(text: str) -> Markup:
    """Text from data, kept apart from the writing direction of what surrounds it."""
    return Markup("<bdi>") + escape(text) + Markup("</bdi>")
