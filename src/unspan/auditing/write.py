"""Write an audit: the record, both reports and their seal, published by one rename."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from unspan.artifact.publish import clean_orphans, publish
from unspan.errors import OutputError
from unspan.sealing.manifest import MANIFEST, SIGNATURE, write_manifest
from unspan.system.locks import writing
from unspan.system.output_paths import check_folder

if TYPE_CHECKING:
    from unspan.auditing.audit import Audit

SEALED = ("audit.json", "report.html", "report.md")  # what the manifest covers
NAMES = (*SEALED, MANIFEST)


def check_target(folder: Path, overwrite: bool, inputs: Sequence[Path | None]) -> None:
    """Refuse to replace anything but an earlier audit, and that only when asked; and to write into
    what is read.

    Raises:
        UsageError: the folder holds something.
        OutputError: its parent is missing.
    """
    given = [one for one in inputs if one is not None]
    check_folder(
        folder,
        NAMES,
        what="an audit",
        overwrite=overwrite,
        inputs=given,
        optional=(SIGNATURE,),
        empty=True,
    )


def save(audit: Audit, folder: Path) -> Path:
    """Write the three files and their seal; an earlier audit stays until the folder is complete.

    Raises:
        UsageError: the folder holds anything but an earlier audit.
        OutputError: the folder cannot be written.
    """
    texts = dict(zip(SEALED, (audit.to_json(), audit.to_html(), audit.to_markdown()), strict=True))

    def fill(fresh: Path) -> None:
        for name, text in texts.items():
            (fresh / name).write_text(text, "utf-8")
        write_manifest(fresh, "audit", SEALED, {})

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise OutputError(f"The folder {folder.parent} cannot be made: {error}.") from error
    check_target(folder, True, [])
    with writing(folder):
        clean_orphans(folder)
        publish({folder: fill}, partial(check_target, folder, True, []))
    return folder
