"""The index as one HTML file: nothing is loaded, nothing runs, every text from data is escaped."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from unspan.ledger.files import publish
from unspan.ledger.index import Index
from unspan.ledger.words import moment, shown
from unspan.sealing.files import content_of
from unspan.system.palette import DARK, LIGHT, variables
from unspan.system.version import VERSION

_SIGNS = {"yes": "✓", "no": "!", "open": "?"}
_OURS = b'<meta name="generator" content="unspan index">'
_MOST = 1 << 30  # bytes of an earlier page
_NOT_COVERED = (
    "What is in no folder and in no ledger that was given. A list cannot show what was left out.",
    "Copies: backups, caches, models that were trained further, and vectors that were stored. Whom"
    " you told is not recorded.",
    "Who wrote a folder. A seal says that nothing changed since. A signature that was checked says"
    " whose key signed.",
    "Whether the ledger was made anew as a whole. Compare its head with one that you noted"
    " elsewhere: unspan ledger verify --head.",
    "Entries that were removed from the end of the ledger, unless the head is compared.",
    "The clock: times are those of the computers that wrote the files.",
    "Attacks that were not tried. An audit says what the attacks in its report recovered.",
    "Law. These are facts of files, not advice.",
)


def html(found: Index) -> str:
    """One self-contained HTML page.

    Args:
        found: what it shows.
    """
    engine = Environment(
        loader=PackageLoader("unspan.ledger", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    engine.filters["own"] = _own
    made = moment(datetime.now(timezone.utc).replace(microsecond=0).isoformat())
    return engine.get_template("index.html.j2").render(
        found=found,
        made=f"Made {made} UTC by unspan {VERSION}.",
        not_covered=_NOT_COVERED,
        signs=_SIGNS,
        light=Markup(variables(LIGHT)),
        dark=Markup(variables(DARK)),
    )


def write(found: Index, out: Path) -> None:
    """Write the page to a file that its owner may read.

    Raises:
        OutputError: it cannot be written; what was there is as it was.
    """
    publish(out, html(found).encode())


def is_index(path: Path) -> bool:
    """Whether a file is a page that `write` wrote."""
    return _OURS in content_of(path, _MOST)[:4096]


def _own(text: str) -> Markup:
    """Text from data on one line, kept apart from the writing direction of what surrounds it."""
    return Markup("<bdi>") + escape(shown(text)) + Markup("</bdi>")
