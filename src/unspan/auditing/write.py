"""Write an audit: audit.json, report.html and report.md in one folder, published by one rename."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unspan.artifact.publish import clean_orphans, publish
from unspan.outputs import check_folder, refuse_inputs

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
    given = [one for one in inputs if one is not None]
    empty = folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())
    if empty:
        refuse_inputs(folder, given)
        return
    check_folder(folder, NAMES, what="an audit", overwrite=overwrite, inputs=given)


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
