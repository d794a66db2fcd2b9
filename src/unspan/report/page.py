"""The report as one HTML file: nothing is loaded, nothing runs, every text from data is escaped."""

from __future__ import annotations

import re

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from unspan.audit_record.record import AuditRecord
from unspan.report.view import view
from unspan.report.words.first import First
from unspan.system.palette import DARK, LIGHT, variables

_SEAL = re.compile("sha256:[0-9a-f]{64}")
SIGNS = {"yes": "✓", "no": "!", "open": "?", "part": "◐", "none": "–", "forget": "▸"}


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
        view=view(audit),
        first=First,
        stamp=_stamp(audit.seal),
        light=Markup(variables(LIGHT)),
        dark=Markup(variables(DARK)),
        signs=SIGNS,
    )


def _stamp(seal: str) -> str:
    """The seal of the audit for the foot of printed pages; nothing else gets into the style."""
    return First.STAMP.format(seal=seal) if _SEAL.fullmatch(seal) else First.NO_STAMP.value


def _own(text: str) -> Markup:
    """Text from data, kept apart from the writing direction of what surrounds it."""
    return Markup("<bdi>") + escape(text) + Markup("</bdi>")
