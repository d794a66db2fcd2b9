"""The list of artefacts agrees with the code that writes them, and with the page made from it."""

from __future__ import annotations

import re
from pathlib import Path

from unspan.artifact import layout
from unspan.auditing import write
from unspan.system import schemas

SOURCE = Path(__file__).parents[3] / "src/unspan"


def test_the_page_is_made_from_the_list():
    page = Path(__file__).parents[3] / "docs/artefacts.md"
    assert page.read_text("utf-8") == schemas.page()


def test_the_list_says_what_the_writers_write():
    assert schemas.RECEIPT.files == layout.PUBLIC
    assert schemas.PRIVATE_STATE.files == layout.PRIVATE
    assert schemas.AUDIT.files == write.NAMES


def test_no_other_file_spells_a_schema():
    spelled = re.compile(r"""["']unspan[.][a-z-]+/[0-9]""")
    found = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if spelled.search(path.read_text("utf-8"))
    }
    assert found == {"system/schemas.py"}


def test_titles_and_schemas_are_different():
    titles = [one.title for one in schemas.ARTEFACTS]
    named = [one.schema for one in schemas.ARTEFACTS if one.schema]
    assert len(set(titles)) == len(titles)
    assert len(set(named)) == len(named)
