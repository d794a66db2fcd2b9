"""Write an audit: audit.json, report.html and report.md in one folder, published by one rename."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unspan.artifact.publish import clean_orphans, publish
from unspan.artifact.write import refuse_inputs
from unspan.errors import OutputError, UsageError

if TYPE_CHECKING:
    from unspan.auditing.audit import Audit

NAMES = ("audit.json", "report.html", "report.md")


def check_target(folder: Path, overwrite: bool, inputs: Sequence[Path | None]) -> None:
    """Refuse to replace anything but an earlier audit, and that only when asked; and to write into
    what is read.

    Raises:
        UsageError: the folder holds something.
        OutputError: its parent is missing.
    """
    if not folder.absolute().parent.is_dir():
        raise OutputError(f"The folder {folder.parent} does not exist; create it first.")
    refuse_inputs(folder, tuple(one for one in inputs if one is not None and one.exists()))
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; choose a folder with --out.")
    found = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if found and not (overwrite and found <= set(NAMES)):
        raise UsageError(
            f"{folder} is not empty; "
            + (
                "pass --overwrite to replace the audit in it."
                if found <= set(NAMES)
                else "choose another --out."
            )
        )


def save(audit: Audit, folder: Path) -> Path:
    """Write the three files; what was there before stays until the new folder is complete.

    Raises:
        OutputError: the folder cannot be written.
    """
    texts = dict(zip(NAMES, (audit.to_json(), audit.to_html(), audit.to_markdown()), strict=True))

    def fill(fresh: Path) -> None:
        for name, text in texts.items():
            (fresh / name).write_text(text, "utf-8")

    folder.parent.mkdir(parents=True, exist_ok=True)
    clean_orphans(folder)
    publish({folder: fill})
    return folder
