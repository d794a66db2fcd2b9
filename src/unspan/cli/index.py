"""`unspan index`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unspan.cli import options as option

Folders = Annotated[
    list[Path] | None,
    typer.Argument(
        help="Folders of deletions and audits, or folders that hold them.", metavar="FOLDER..."
    ),
]
Ledger = Annotated[Path | None, typer.Option(help="File of a ledger, shown with its entries.")]
Out = Annotated[Path, typer.Option(help="File to write: index.html.")]
Key = Annotated[
    Path | None, typer.Option(help="Public key (PEM) that should have signed the folders.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier page.")]

_WRONG = 1


def index(
    out: Out,
    folders: Folders = None,
    ledger: Ledger = None,
    key: Key = None,
    overwrite: Overwrite = False,
    debug: option.Debug = False,
) -> None:
    """Write one page that lists deletions, their audits and a ledger, and what does not hold.

    unspan index results/ --ledger ledger.db --out index.html

    Exit codes: 0 written and all holds, 1 written and something does not, 2 usage, 8 output.
    """
    from unspan.cli import render
    from unspan.ledger import page
    from unspan.ledger.index import index as read
    from unspan.system.output_paths import check_file

    given = folders or []
    found = read(given, ledger, key)
    what = "an index of unspan"
    check_file(out, page.is_index, what=what, overwrite=overwrite, inputs=found.read)
    page.write(found, out)
    console = render.console(quiet=False)
    render.facts(console, "Done", [("written", out), ("shows", found.summary)])
    render.bullets(console, "Does not hold", found.wrong)
    render.bullets(console, "Open", found.open)
    if found.wrong:
        raise typer.Exit(_WRONG)
