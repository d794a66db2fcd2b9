"""The command line end to end: label alignment, chained requests, quiet help, plan."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import ResNetConfig, ResNetForImageClassification
from typer.main import get_command
from typer.testing import CliRunner

import unspan
from unspan.cli import app, main


def run(monkeypatch: pytest.MonkeyPatch, *args: object) -> int:
    monkeypatch.setattr(sys, "argv", ["unspan", *map(str, args)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Folder names sort as cat, dog, fox; three colours."""
    generator = torch.Generator().manual_seed(0)
    for number, name in enumerate(["cat", "dog", "fox"]):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(24):
            pixels = torch.randint(0, 60, (32, 32, 3), generator=generator)
            pixels[..., number] += 150
            Image.fromarray(pixels.to(torch.uint8).numpy()).save(
                tmp_path / "photos" / name / f"{i}.png"
            )
    return tmp_path / "photos"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A transformers folder whose class order is not the folder order."""
    torch.manual_seed(0)
    labels = {0: "fox", 1: "cat", 2: "dog"}
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], id2label=labels)
    ResNetForImageClassification(config).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_labels_follow_the_models_class_order_and_requests_chain(
    photos, model, tmp_path, monkeypatch, capsys
) -> None:
    common = ("--data", photos, "--rank", 1, "--no-check-labels", "--json", "-q", "--eval", "none")
    assert (
        run(
            monkeypatch,
            "erase",
            "--model",
            f"transformers:{model}",
            "--forget",
            "cat",
            "--out",
            tmp_path / "one",
            *common,
        )
        == 0
    )
    first = json.loads(capsys.readouterr().out)
    assert first["request"]["classes"] == [1] and first["request"]["samples_read"] == 24
    assert str(tmp_path) not in json.dumps(first)
    assert (
        run(
            monkeypatch,
            "erase",
            "--model",
            tmp_path / "one",
            "--forget",
            "dog",
            "--out",
            tmp_path / "two",
            *common,
        )
        == 0
    )
    second = json.loads(capsys.readouterr().out)
    assert second["removed_rank"] == 2 and len(second["previous"]) == 1
    assert second["request"]["classes"] == [
        2
    ]  # the model's order, also when it comes from a folder
    assert (
        run(
            monkeypatch,
            "erase",
            "--model",
            tmp_path / "two",
            "--forget",
            "dog",
            "--out",
            tmp_path / "three",
            *common,
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out)["status"] == "already erased"
    two, three = (unspan.load(tmp_path / name).state_dict() for name in ("two", "three"))
    assert two.keys() == three.keys() and all(torch.equal(two[name], three[name]) for name in two)


def test_dry_run_prints_the_plan_and_writes_nothing(
    photos, model, tmp_path, monkeypatch, capsys
) -> None:
    code = run(
        monkeypatch,
        "erase",
        "--model",
        f"transformers:{model}",
        "--data",
        photos,
        "--forget",
        "cat",
        "--rank",
        "1",
        "--out",
        tmp_path / "out",
        "--dry-run",
    )
    assert code == 0 and "24 samples" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys; sys.argv = ['unspan', '--help']\nfrom unspan.cli import main\ntry:"
        " main()\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_methods_imports_no_compiler_and_no_library_of_other_commands() -> None:
    heavy = {"scipy.special", "sklearn", "matplotlib", "datasets", "transformers", "torch._dynamo"}
    code = f"import sys, unspan.methods\nprint(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_freed_memory_is_kept_unless_the_user_chose(monkeypatch) -> None:
    from unspan.cli.memory import keep_freed_memory

    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    assert not keep_freed_memory()
    code = (
        "import resource, torch\nfrom unspan.cli.memory import keep_freed_memory\n"
        "kept = keep_freed_memory()\n"
        "def fill():\n for size in (5, 9, 14): torch.ones(size * 2**20), torch.ones(2**22)\n"
        "fill()\nbefore = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(5): fill()\n"
        "print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"
    )
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    faults = {}
    for chosen in ({}, {"MALLOC_TRIM_THRESHOLD_": "131072"}):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=plain | chosen
        )
        kept, count = done.stdout.split()
        faults[kept] = int(count)
    assert "True" not in faults or faults["True"] < 0.5 * faults["False"], faults


def commands(group, before=()):
    """Every command, with the words that call it."""
    for name, one in group.commands.items():
        if hasattr(one, "commands"):
            yield from commands(one, (*before, name))
        else:
            yield (*before, name)


@pytest.mark.parametrize("words", list(commands(get_command(app))), ids=" ".join)
def test_help_cuts_nothing_at_80_columns(words, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    shown = CliRunner().invoke(app, [*words, "--help"]).output
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["erase"], ["option --model", "option --out"]),
        (["erase", "--model", "timm:resnet18"], ["option --out"]),
        (["audit"], ["argument BEFORE", "argument AFTER", "option --out", "option --data"]),
        (["audit", "--outputs"], ["argument BEFORE", "argument AFTER", "option --out"]),
        (["audit", "a", "b", "--out=o"], ["option --data"]),
        (["audit", "a", "b", "--data=d"], ["option --out"]),
    ],
    ids=" ".join,
)
def test_all_that_is_missing_is_named_at_once(monkeypatch, capsys, words, named):
    assert run(monkeypatch, *words) == 2
    said = capsys.readouterr().err
    assert said == f"Error: Missing {', '.join(named)}. See unspan --help.\n"


def test_a_program_reads_errors_as_json(monkeypatch, capsys, tmp_path):
    words = ["erase", "--model", "python:nowhere:x", "--data", tmp_path / "no", "--forget", "3"]
    code = run(monkeypatch, *words, "--out", tmp_path / "out", "--json")
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert found["exit_code"] == code != 0
    assert told.err.strip().splitlines()[-1] == f"Error: {found['error']}"
