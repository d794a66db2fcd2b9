"""The commands of the section "On your model" of the README, as they stand there."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from examples import your_model

README = Path(__file__).parents[2] / "README.md"


def commands() -> list[list[str]]:
    """Arguments of every `$ unspan ...` of the section."""
    section = README.read_text("utf-8").split("## On your model")[1].split("\n## ")[0]
    found = re.findall(r"^\$ unspan (.*?[^\\])$", section, re.MULTILINE | re.DOTALL)
    return [shlex.split(line.replace("\\\n", " ")) for line in found]


def test_the_section_shows_three_libraries() -> None:
    chosen = [command[command.index("--model") + 1].split(":")[0] for command in commands()]
    assert chosen == ["torchvision", "timm", "transformers"]


@pytest.mark.parametrize("command", commands(), ids=lambda command: command[2].split(":")[0])
def test_a_command_of_the_readme(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    your_model.main([command[2].split(":")[0]], epochs=2)
    done = subprocess.run(
        [sys.executable, "-m", "unspan", *command], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    out = Path(command[command.index("--out") + 1])
    rows = json.loads((out / "receipt.json").read_text("utf-8"))["evaluation"]
    forget, retain = (
        next(row for row in rows if row["split"] == f"test {part}") for part in ("forget", "retain")
    )
    assert forget["before"] > 0.5 and forget["after"] < 0.2
    assert retain["change"] > -0.03
