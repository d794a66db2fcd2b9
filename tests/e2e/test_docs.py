"""README and pages: numbers from results, links that lead somewhere, commands that exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer.main
from torch.utils.data import TensorDataset

from unspan.cli import app

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tools"))
from prose import sentences as counted  # noqa: E402 (what `make metrics` counts)

README = ROOT / "README.md"
PLAIN = (
    "index",
    "install",
    "quickstart",
    "which-method",
    "threat-model",
    "audit",
    "recipes",
    "glossary",
    "resample",
    "notes/failed",
    "architecture",
)
PAGES = [README, *(ROOT / "docs" / f"{name}.md" for name in PLAIN)]
LONGEST = 25  # words of a sentence


def blocks(page, language):
    """Code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)


def prose(page):
    """Paragraphs and table cells of a page, without code, links and pictures."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"<!--.*?-->", "", text)
    parts = re.split(r"\n\s*\n|\n[-#>] ?|\||\n(?=\d\. )", text)
    return [" ".join(part.split()) for part in parts if part.strip()]


def sentences(page):
    """Sentences of a page."""
    return [one for part in prose(page) for one in re.split(r"(?<=[.!?:;]) +", part)]


def commands():
    """Every `unspan ...` of README and pages, as arguments."""
    found = []
    for page in PAGES:
        for block in (*blocks(page, "bash"), *blocks(page, "")):
            for line in re.findall(r"^(?:\$ )?unspan (.*?[^\\])$", block, re.M | re.S):
                words = shlex.split(line.replace("\\\n", " "), comments=True)
                found.append(pytest.param(words, id=f"{page.stem}: {' '.join(words)[:50]}"))
    return found


def test_numbers_are_those_of_the_results():
    done = subprocess.run(
        [sys.executable, "docs/measured.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# figures that nobody here measured: printed in a paper, settings and thresholds
NOT_MEASURED = {
    "README": {"10 %", "95 %"},  # chance, and of an interval
    "index": {"10 %"},
    "resample": {"10 %"},
    "audit": {"95 %"},  # of an interval
    "protocol": {  # thresholds
        *("95 %", "0.10", "25 %", "0.05", "0.001", "0.5", "0.45", "0.55", "1 %", "0.1 %"),
    },
    "paper-map": {  # printed
        *("98.4", "97.9", "10.7", "0.0", "85.6", "86.1", "86.4", "8.2", "25.1", "98.3", "0.35"),
        *("0.6", "0.9"),  # settings
    },
    "benchmark": {"9.17"},  # printed
    "which-method": {"1.6 %", "0.5", "17 %", "95 %", "0.7", "15 %"},  # chance, setting, goal
    "reading": {"1.7", "0.6", "0.9", "95 %"},  # settings, and of an interval
}
FIGURE = re.compile(r"(?<![\d.=v-])(?:\d+(?:\.\d+)? ?%|\d+\.\d+(?![\d.]))")


def typed_figures(page):
    """Percentages and decimals of a page that are typed, not read from results when it is built."""
    text = re.sub(r"<!-- begin.*?<!-- end.*?-->", "", page.read_text("utf-8"), flags=re.S)
    text = re.sub(r"Python \d\.\d+ to \d\.\d+", "", text)
    text = re.sub(r"^```.*?^```|`[^`]*`|\]\([^)]*\)", "", text, flags=re.M | re.S)
    text = re.sub(
        r"\d[\d.,]*(?:–[\d.]+)?(?: ± [\d.]+)?(?: %)?¹?<!--\w+-->", "", text
    )  # docs/measured.py
    return set(FIGURE.findall(text)) - NOT_MEASURED.get(page.stem, set())


def handwritten_pages():
    """README and every page that no command writes."""
    written = {"changelog.md", "contributing.md", "matrix.md", "artefacts.md"}
    found = [page for page in (ROOT / "docs").rglob("*.md") if "generated" not in page.parts]
    others = [ROOT / name / "README.md" for name in ("experiments", "benchmarks")]
    return [README, *others, *sorted(page for page in found if page.name not in written)]


@pytest.mark.parametrize(
    "page", handwritten_pages(), ids=lambda page: f"{page.parent.name}-{page.stem}"
)
def test_no_measured_figure_is_typed(page):
    assert not typed_figures(page), "read them from results/ in docs/measured.py"


def test_a_typed_figure_is_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "It reads 83.4 % of deer, 11.3 ± 1.2 %<!--resample_attack--> or `0.5`, in Python 3.12: 12%"
        " and 7 %."
    )
    assert typed_figures(page) == {"83.4 %", "3.12", "12%", "7 %"}


def test_a_value_is_written_before_the_comment_that_names_it():
    texts = [f"{old}<!--kr_seeds-->" for old in ("1.0 ± 2.0 %¹", "1–3", "")]
    code = f"import measured; print(measured.filled({' '.join(texts)!r}))"
    written = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "docs",
        capture_output=True,
        text=True,
    )
    assert written.returncode == 0, written.stderr
    assert re.fullmatch(r"(\d+)<!--kr_seeds-->( \1<!--kr_seeds-->){2}\n", written.stdout)


def too_long(text):
    """Sentences over the limit, as `make metrics` counts them."""
    return [one for one in counted(text) if len(one.split()) > LONGEST]


@pytest.mark.parametrize(
    "page", handwritten_pages(), ids=lambda page: f"{page.parent.name}-{page.stem}"
)
def test_no_page_has_a_sentence_that_is_counted_as_long(page):
    assert not too_long(page.read_text("utf-8"))


def test_the_readme_fits_a_few_screens():
    assert len(README.read_text("utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_sentences_are_short(page):
    long = [one for one in sentences(page) if len(one.split()) > LONGEST]
    assert not long, long


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    local = [link for link in links if "://" not in link and "generated/" not in link]
    assert not [link for link in local if not (page.parent / link).exists()]


@pytest.mark.parametrize("words", commands())
def test_commands_and_their_options_exist(words):
    command = typer.main.get_command(app).commands[words[0]]
    known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known | {"--help"}


def test_make_targets_of_the_readme_exist():
    named = re.findall(r"\bmake ([a-z-]+)", README.read_text("utf-8"))
    assert {"demo", "test"} <= set(named)
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    assert set(named) <= set(targets)


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    x = torch.randn(600, 8)
    labels = (x[:, :3].argmax(1)).long()
    dataset = TensorDataset(x, labels)
    dataset.classes = ["cat", "deer", "dog"]
    model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(x), labels).backward()
        optimiser.step()
    for block in blocks(README, "python"):
        exec(block, {"model": model.eval(), "dataset": dataset})  # noqa: S102
    assert (tmp_path / "erased" / "model.safetensors").is_file()
    assert "Deletion: erased" in capsys.readouterr().out


def test_the_site_has_a_page_for_every_method(tmp_path):
    from unspan.methods import METHODS

    done = subprocess.run(
        [sys.executable, "docs/generate.py", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    measured = 0
    for method in METHODS:
        page = (tmp_path / "methods" / f"{method.name}.md").read_text("utf-8")
        assert "**Idea.**" in page and "**Source.**" in page and "## Settings" in page
        assert not too_long(page)
        if "## Measured\n\nNot yet: " in page:  # a new method
            continue
        measured += 1
        assert f"\n| {method.name} |" in page or method.name == "retrain"
        assert "\n| retrained without deer |" in page and "aria-label=" in page
    assert measured >= 20
    assert "## unspan erase" in (tmp_path / "cli.md").read_text("utf-8")


def test_the_python_of_the_quickstart_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    names = {}
    for block in blocks(ROOT / "docs" / "quickstart.md", "python"):
        if "unspan.audit(" not in block:  # the gallery runs an audit
            exec(block, names)  # noqa: S102
    named = names["again"](names["x"]).argmax(1)
    threes = names["labels"] == 3
    assert (names["net"](names["x"]).argmax(1) == 3)[threes].float().mean() > 0.9, (
        "still the original"
    )
    assert (named[threes] == 3).float().mean() < 0.1
    assert (named == names["labels"])[~threes].float().mean() > 0.9
    assert (
        not names["before"].equal(names["after"]) and "Deletion: erased" in capsys.readouterr().out
    )


def test_every_result_has_a_command_whose_script_exists():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import reproduce_page
    finally:
        sys.path.pop(0)
    made = [*reproduce_page.benchmarks(), *reproduce_page.experiments()]
    named = {name for one in made for name in one.files}
    there = {
        path.relative_to(reproduce_page.RESULTS).as_posix()
        for pattern in ("*.json", "bench/tables/*.*.jsonl")
        for path in reproduce_page.RESULTS.rglob(pattern)
    }
    assert there and named >= there
    for one in made:
        script = re.search(r"(\S+\.(?:py|sh))\b", one.command)
        assert one.command and (script is None or (ROOT / script[1]).is_file()), one.files
    text = reproduce_page.page()
    assert "| `bench/tables/table1a.full.jsonl` | `unspan bench table1a --budget full" in text
