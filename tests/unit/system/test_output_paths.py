"""Where a command may write, told from the path alone."""

import pytest

from unspan.errors import OutputError, UsageError
from unspan.system.output_paths import check_place


def test_a_new_name_in_a_folder_is_accepted(tmp_path):
    check_place(tmp_path / "erased")


def test_a_missing_parent_folder_is_named(tmp_path):
    with pytest.raises(OutputError, match=r"The folder .*/no does not exist; create it first"):
        check_place(tmp_path / "no" / "erased")


def test_the_working_directory_is_no_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no name for something new"):
        check_place(tmp_path)


def test_a_name_with_a_null_byte_cannot_be_used(tmp_path):
    with pytest.raises(OutputError, match="cannot be used"):
        check_place(tmp_path / "a\0b")
