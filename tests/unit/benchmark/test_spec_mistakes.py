"""What is mistyped in a spec is named before any work, with what was meant."""

from __future__ import annotations

import sys

import pytest
from typer.testing import CliRunner

from unspan.benchmark.data import absence, opened, refuse_unknown
from unspan.benchmark.requests import refuse_unknown_classes
from unspan.benchmark.spec import load
from unspan.benchmark.spec_text import budget_place
from unspan.cli import app, main
from unspan.cli.bench_run import _command
from unspan.errors import UsageError

WHOLE = """
[[pair]]
data = "digits"
model = "python:unspan.zoo:DigitsCNN"
request = { classes = [3] }
train = { lr = 0.05, epochs = 1 }

[[method]]
name = "esc"
"""


def spec(tmp_path, text):
    file = tmp_path / "own.toml"
    file.write_text(text, "utf-8")
    return file


def test_a_mistyped_setting_of_training_is_named(tmp_path):
    file = spec(tmp_path, WHOLE.replace("epochs = 1", "epoks = 1"))
    with pytest.raises(UsageError, match="line 2, train of the pair: unknown key 'epoks'. Did you"):
        load(file)


@pytest.mark.parametrize("key", ["set = { ecs = { p = 2.0 } }", 'skip = ["ecs"]', 'once = ["ecs"]'])
def test_a_mistyped_method_of_a_budget_is_named(tmp_path, key):
    file = spec(tmp_path, WHOLE + f"[budget.cpu]\n{key}\n")
    with pytest.raises(UsageError, match="ecs"):
        load(file, "cpu")


def test_a_budget_may_name_methods_that_a_command_adds(tmp_path):
    file = spec(tmp_path, WHOLE + "[budget.cpu]\nset = { leace = { shrinkage = 0.1 } }\n")
    assert load(file, "cpu").rows


@pytest.mark.parametrize("name", ["digitz", "cifar1O"])
def test_a_mistyped_dataset_is_named(name):
    with pytest.raises(UsageError, match="Did you mean"):
        opened(name, None, None)


PAIR = "own.toml, line 2 (digits, python:unspan.zoo:DigitsCNN): "
NO_PLACE = [
    (
        "classes = [3]",
        "classes = [13]",
        f"{PAIR}Class 13 is not one of the 10 of this dataset, 0 to 9.",
    ),
    ("classes = [3]", "steps = [[3], [13]]", f"{PAIR}Class 13 is not one of the 10"),
    (
        '"digits"',
        '"digitz"',
        "own.toml, line 2 (digitz, python:unspan.zoo:DigitsCNN): Dataset digitz is not known.",
    ),
    (
        "DigitsCNN",
        "DigitCNN",
        "own.toml, line 2 (digits, python:unspan.zoo:DigitCNN): python:unspan.zoo:DigitCNN:"
        " unspan.zoo has no DigitCNN. Did you mean DigitsCNN",
    ),
    ("python:unspan.zoo:DigitsCNN", "zoo:DigitsCNN", "'zoo:DigitsCNN' names no model"),
    ("python:unspan.zoo:DigitsCNN", "python:nets.py:Net", "there is no file nets.py here"),
    (
        "python:unspan.zoo:DigitsCNN",
        "torchvision:resnet81",
        "line 2 (digits, torchvision:resnet81): ",
    ),
    *(
        ("lr = 0.05", wrong, f"own.toml, line 2, train of the pair: {told}")
        for wrong, told in (
            ('lr = "fast"', "lr = 'fast' must be a number."),
            ("lr = -1.0", "lr=-1.0: all of lr"),
            ("milestones = 3", "milestones = 3 must be a list of whole numbers."),
            ('cosine = "yes"', "cosine = 'yes' must be true or false."),
            ('augment = "turn"', "augment = 'turn' must be none or flip or crop-flip."),
        )
    ),
    ("epochs = 1", "epochs = 6.5", "line 2, train of the pair: epochs = 6.5 must be a whole"),
    ("[[pair]]", "[pair]", "own.toml: write [[pair]], with two brackets, in place of [pair]."),
    *(
        ('"esc"', f'"esc"\nset = {{ {wrong} }}', f"own.toml, line 8, method esc: {told}")
        for wrong, told in (
            ("p = 300", "p=300 is not a percentage, for any number of features."),
            ("p = -1.0", "p=-1.0 is not a percentage"),
            ("rank = 0", "rank=0 is impossible, for any number"),
            ("energy = 1.5", "energy=1.5 is not a share"),
        )
    ),
    (
        '"esc"',
        '"original"\nset = { lr = "fast" }',
        "own.toml, line 8, method original: lr = 'fast' must be a number.",
    ),
    *(
        ('"esc"', f'"esc"\n[budget{head}', f"budget {name} of own.toml, line 10{told}")
        for head, name, told in (
            (".paper]\ntrain = { epoch = 1 }", "paper", ", train: unknown key 'epoch'. Did you"),
            (".cpu]\ntrain = { epoch = 1 }", "cpu", ", train: unknown key 'epoch'. Did you"),
            (".cpu.train]\nepochs = 6.5", "cpu", ", train: epochs = 6.5 must be a whole number."),
            (".cpu]\nseed = [1]", "cpu", ": unknown key 'seed'. Did you mean seeds"),
        )
    ),
    (
        '"esc"',
        '"esc"\n[budget]\ntrain = { epoch = 1 }',
        "budget train of own.toml, line 11: train is what a budget changes, no budget;",
    ),
]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\n[budget.cpu]\nretain = 3", ", line 2"),
        ("[budget.cpux]\n[ budget . cpu . train ] # here\n", ", line 2"),
        ("budget.cpu.retain = 3", ", line 1"),
        ("cpu = 1\n[budget]\ncpu = { retain = 3 }", ", line 3"),
        ("budget = { cpu = { retain = 3 } }\n[pair]\ncpu = 3", ""),
    ],
)
def test_a_budget_is_found_in_every_form_of_toml(tmp_path, text, line):
    assert budget_place(spec(tmp_path, text), "cpu") == f"budget cpu of own.toml{line}"


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize(("old", "new", "told"), NO_PLACE)
def test_a_mistake_is_named_with_its_place_by_a_dry_run_and_before_any_work(
    tmp_path, monkeypatch, capsys, old, new, told, dry
):
    monkeypatch.chdir(tmp_path)
    spec(tmp_path, WHOLE.replace(old, new))
    code, said = bench(monkeypatch, capsys, "own.toml", *(["--dry-run"] if dry else []))
    assert code == 2 and told in said, said
    assert said.count("python:python:") == 0 and "{'" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["own.toml"]


@pytest.mark.parametrize("set_", ["p = 0.01", "rank = 5000", "energy = 0.999", "p = 99.99"])
def test_what_only_the_width_of_the_network_decides_is_not_refused(tmp_path, set_):
    assert load(spec(tmp_path, WHOLE.replace('"esc"', f'"esc"\nset = {{ {set_} }}'))).rows


def bench(monkeypatch, capsys, *args):
    monkeypatch.setattr(sys, "argv", ["unspan", "bench", *map(str, args)])
    with pytest.raises(SystemExit) as stopped:
        main()
    told = capsys.readouterr()
    return stopped.value.code, " ".join((told.out + told.err).split())


@pytest.mark.parametrize("named", ["option", "variable"])
@pytest.mark.parametrize("dry", [True, False])
def test_a_folder_of_datasets_that_does_not_exist_is_refused(
    tmp_path, monkeypatch, capsys, named, dry
):
    monkeypatch.chdir(tmp_path)
    spec(tmp_path, WHOLE)
    options = ["--data-root", "nope"] if named == "option" else []
    if named == "variable":
        monkeypatch.setenv("UNSPAN_DATA", "nope")
    code, said = bench(monkeypatch, capsys, "own.toml", *options, *(["--dry-run"] if dry else []))
    told = {"option": "--data-root nope", "variable": "$UNSPAN_DATA nope"}[named]
    assert code == 2 and f"{told}: there is no such folder." in said


@pytest.mark.parametrize("name", ["esc", "retrain"])
def test_a_method_that_has_a_row_already_is_said_to(tmp_path, monkeypatch, capsys, name):
    spec(tmp_path, WHOLE + '\n[[method]]\nname = "retrain"\n')
    options = ["--dry-run", "--method", name, "--method", "leace", "--out", tmp_path / "out"]
    code, said = bench(monkeypatch, capsys, tmp_path / "own.toml", *options)
    assert code == 0 and f"own has a row of {name} already; --method adds none." in said
    assert "row of leace" not in said


@pytest.mark.parametrize(
    "name",
    ["python:none.py:A", "python:unspan.zoo", "python:unspan.zoo:Absent", "python:unspan.zoo:ViT"],
)
@pytest.mark.parametrize("place", ["file", "command"])
def test_a_message_about_a_class_names_it_once(tmp_path, monkeypatch, capsys, name, place):
    monkeypatch.chdir(tmp_path)
    spec(tmp_path, WHOLE.replace('"esc"', f'"{name}"') if place == "file" else WHOLE)
    options = [] if place == "file" else ["--method", name]
    code, said = bench(monkeypatch, capsys, "own.toml", "--dry-run", *options)
    head = "own.toml, line 8, method" if place == "file" else "--method"
    assert code == 2 and said.startswith((f"Error: {head} {name}", f"Error: {head} '{name}'"))
    assert said.partition(";")[0].count("python:") == 1


@pytest.mark.parametrize("name", ["owner/name", "python:a:b", "data.csv", "digits"])
def test_what_only_opening_can_tell_is_not_called_unknown(name):
    refuse_unknown(name)
    assert absence(name, None) == ""


@pytest.mark.parametrize("request_", [{"classes": [44]}, {"steps": [[3], [44]]}])
def test_a_class_that_is_not_there_is_said_before_any_work(request_):
    with pytest.raises(UsageError, match="Class 44 is not one of the 10 of this dataset, 0 to 9"):
        refuse_unknown_classes(opened("digits", None, None), request_)


def test_export_says_which_budgets_were_run(tmp_path):
    file = spec(tmp_path, WHOLE + "[budget.tiny]\nseeds = [0]\ntrials = 0\n")
    out, to = str(tmp_path / "out"), str(tmp_path / "arrays")
    ran = CliRunner().invoke(app, ["bench", str(file), "--budget", "tiny", "--out", out, "-q"])
    assert ran.exit_code == 0, ran.output
    found = CliRunner().invoke(app, ["bench", "export", str(file), "--to", to, "--out", out])
    assert "Computed there: --budget tiny" in " ".join(str(found.exception or found.output).split())


def test_a_folder_of_data_that_is_not_there_is_named_before_any_work(tmp_path):
    out, root = str(tmp_path / "out"), str(tmp_path / "nowhere")
    for more in ([], ["--dry-run"]):
        command = ["bench", "table1a", "--budget", "smoke", "--out", out, "--data-root", root]
        ran = CliRunner().invoke(app, [*command, *more])
        assert isinstance(ran.exception, UsageError) and "no such folder" in str(ran.exception)


def test_the_command_that_is_kept_names_the_code_of_a_method_so_that_it_runs_again(monkeypatch):
    typed = ["/bin/unspan", "bench", "--method", "python:/home/me/mine.py:Mine", "--out", "/x/y/"]
    monkeypatch.setattr(sys, "argv", typed)
    assert _command() == "unspan bench --method python:mine.py:Mine --out y"
