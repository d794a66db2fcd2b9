"""Print the numbers that tell how readable the repository is, as a Markdown table.

    python tools/house.py [ROOT] [--tests] [--types] [--calls]

ROOT is a checkout, this one by default, so that two commits can be compared. Counting lines,
functions, imports and sentences takes a second; `--types` runs mypy three times, `--tests`
collects the tests, `--calls` traces one small erase. None of them writes into ROOT.
"""

import argparse
import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import import_graph
import prose

TOOLS = Path(__file__).resolve().parent
LONG_LINE, LONG_FILE, LONG_FUNCTION = 100, 300, 60

Row = tuple[str, object]


def sizes(package: Path) -> Iterator[Row]:
    """Long lines, long files, long functions and top-level entries of the package."""
    files = sorted(package.rglob("*.py"))
    texts = {file: file.read_text("utf-8").splitlines() for file in files}
    lengths = [len(line) for lines in texts.values() for line in lines]
    yield "source files", len(files)
    yield "source lines", len(lengths)
    yield f"lines over {LONG_LINE} characters", sum(n > LONG_LINE for n in lengths)
    yield "longest line", max(lengths)
    yield f"files over {LONG_FILE} lines", sum(len(lines) > LONG_FILE for lines in texts.values())
    yield "longest file", max(map(len, texts.values()))
    functions = [n for file in files for n in function_lengths(file)]
    yield f"functions over {LONG_FUNCTION} lines", sum(n > LONG_FUNCTION for n in functions)
    yield "longest function", max(functions)
    yield "entries at the top level", sum(is_entry(path) for path in package.iterdir())


def function_lengths(file: Path) -> Iterator[int]:
    """Lines of every function in a file, signature and docstring included, decorators not."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield (node.end_lineno or node.lineno) - node.lineno + 1


def is_entry(path: Path) -> bool:
    """Whether a reader sees this as a module or package."""
    if path.name.startswith("__") and path.name != "__init__.py":
        return False
    return path.suffix == ".py" or (path.is_dir() and (path / "__init__.py").exists())


def import_cycles(package: Path) -> Iterator[Row]:
    """Cycles between modules and between packages."""
    graph = import_graph.imports(package)
    entries = import_graph.by_top_level(graph, package.name)
    for name, edges in (("modules", graph), ("top-level entries", entries)):
        groups = import_graph.cycles(edges)
        members = f" ({', '.join(' + '.join(group) for group in groups)})" if groups else ""
        yield f"import cycles between {name}", f"{len(groups)}{members}"


def words(root: Path) -> Iterator[Row]:
    """Length of the README, and of the sentences of README and docs."""
    readme = root / "README.md"
    text = readme.read_text("utf-8")
    yield "README lines", len(text.splitlines())
    yield "README words", len(text.split())
    for name, paths in (("README", [readme]), ("docs", sorted((root / "docs").rglob("*.md")))):
        found = prose.measure(paths)
        yield f"{name}: words per sentence, median / longest", f"{found.median:g} / {found.longest}"
        yield f"{name}: sentences over 25 words", f"{found.over_25} of {found.sentences}"


def types(root: Path) -> Iterator[Row]:
    """Errors of mypy as configured, with every error code on, and with --strict."""
    configured = (root / "pyproject.toml").read_text("utf-8")
    every_code = re.sub(r"^disable_error_code.*$", "", configured, flags=re.MULTILINE)
    yield "mypy errors, as configured", mypy(root, configured)
    yield "mypy errors, every error code on", mypy(root, every_code)
    yield "mypy errors, --strict", mypy(root, every_code, "--strict")


def mypy(root: Path, configuration: str, *options: str) -> int:
    """Errors that mypy finds in `src/unspan` with this pyproject.toml."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "pyproject.toml"
        config.write_text(configuration, "utf-8")
        command = [sys.executable, "-m", "mypy", "--config-file", str(config), *options]
        command += ["--no-error-summary", "--hide-error-context", "src/unspan"]
        command += ["--cache-dir", str(Path(tempfile.gettempdir()) / "unspan-mypy")]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return sum(": error:" in line for line in done.stdout.splitlines())


def tests(root: Path) -> Iterator[Row]:
    """Tests that pytest collects, doctests included."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, cwd=root, env=environment(root), capture_output=True, text=True, check=False
    )
    counted = re.search(r"(\d+)(?:/\d+)? tests? collected", done.stdout)
    yield "tests", counted[1] if counted else "not counted"


def calls(root: Path) -> Iterator[Row]:
    """Calls from one module to another during one small erase."""
    command = [sys.executable, str(TOOLS / "trace_erase.py")]
    done = subprocess.run(
        command, cwd=TOOLS, env=environment(root), capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    yield "calls between modules in one erase of 240 samples", found["calls"]
    yield "the same without calls made for every sample", found["once"]
    yield "pairs of modules that call each other in one erase", found["pairs"]


def environment(root: Path) -> dict[str, str]:
    """Settings under which Python imports `unspan` of `root` and writes nothing there."""
    ours = {"PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}
    return os.environ | ours | {"PYTHONDONTWRITEBYTECODE": "1"}


def measure(root: Path, asked: argparse.Namespace) -> Iterator[Row]:
    """All numbers that were asked for."""
    package = root / "src" / "unspan"
    yield from sizes(package)
    yield from import_cycles(package)
    if asked.types:
        yield from types(root)
    if asked.tests:
        yield from tests(root)
    yield from words(root)
    if asked.calls:
        yield from calls(root)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Numbers of the house, as a Markdown table.")
    parser.add_argument("root", nargs="?", type=Path, default=TOOLS.parent)
    for name in ("types", "tests", "calls"):
        parser.add_argument(f"--{name}", action="store_true")
    asked = parser.parse_args()
    print("| number | value |\n|---|---:|")
    for label, value in measure(asked.root.resolve(), asked):
        print(f"| {label} | {value} |", flush=True)


if __name__ == "__main__":
    main()
