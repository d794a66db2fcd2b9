"""Reading the audits of a comparison, and writing its folder by one rename."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from unspan.artifact.publish import clean_orphans, publish
from unspan.audit_record import stored
from unspan.errors import UsageError
from unspan.report.comparison import MOST, Comparison, Given, compared
from unspan.report.comparison_page import html, markdown
from unspan.sealing.canonical import canonical
from unspan.system.locks import writing
from unspan.system.output_paths import check_folder
from unspan.system.schemas import AUDIT, COMPARISON


def of_files(paths: Sequence[Path]) -> Comparison:
    """Read audits and compare them.

    Args:
        paths: folders of audits, or their audit.json.

    Raises:
        UsageError: fewer than two audits, one of them twice, or a file that is no audit.
    """
    files = [_file(one) for one in paths]
    if not 2 <= len(files) <= MOST:
        raise UsageError(f"{len(files)} audits: give 2 to {MOST} folders or files audit.json.")
    for number, one in enumerate(files):
        if any(one.samefile(other) for other in files[:number]):
            raise UsageError(f"{one} was given twice.")
    return compared([_given(one) for one in files])


def _file(path: Path) -> Path:
    file = path / AUDIT.files[0] if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"{path} holds no audit: there is no {AUDIT.files[0]}.")
    return file


def _given(file: Path) -> Given:
    form = stored.decode(file)
    record = stored.from_dict(form, str(file))
    name = file.resolve().parent.name if file.name == AUDIT.files[0] else file.stem
    return Given(name=name, record=record, intact=stored.seal(form) == record.seal)


def to_json(found: Comparison) -> str:
    """Canonical JSON."""
    return canonical(msgspec.to_builtins(found))


def check_target(folder: Path, overwrite: bool, inputs: Sequence[Path]) -> None:
    """Refuse to replace anything but an earlier comparison, and that only when asked.

    Raises:
        UsageError: the folder holds something, or is read.
        OutputError: its parent is missing.
    """
    what = "a comparison of audits"
    check_folder(
        folder, COMPARISON.files, what=what, overwrite=overwrite, inputs=inputs, empty=True
    )


def save(found: Comparison, folder: Path) -> None:
    """Write the three files; an earlier comparison stays until the new folder is complete.

    Raises:
        UsageError: the folder holds anything but an earlier comparison.
        OutputError: the folder cannot be written.
    """
    texts = (to_json(found), html(found), markdown(found))

    def fill(fresh: Path) -> None:
        for name, text in zip(COMPARISON.files, texts, strict=True):
            (fresh / name).write_text(text, "utf-8")

    with writing(folder):
        clean_orphans(folder)
        publish({folder: fill}, partial(check_target, folder, True, []))
