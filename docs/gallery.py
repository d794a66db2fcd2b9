"""Pages of the gallery: scripts of `examples/`, run cell by cell, with what they print and draw.

    python docs/gallery.py FOLDER

A script is a row of cells. `# %% [markdown]` begins text in comments, `# %%` begins code.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ("erase_a_class", "look_at_features", "audit_with_retrained_reference")


def write(folder: Path) -> None:
    """Run every example whose script, or the library under it, changed since its page was made."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for name in SCRIPTS:
        page, stamp = folder / f"{name}.md", folder / f"{name}.digest"
        if not page.exists() or not stamp.exists() or stamp.read_text("utf-8") != digest(name):
            page.write_text(run(name, folder)[0], "utf-8")
            stamp.write_text(digest(name), "utf-8")
        entries.append(_entry(page))
    names = "\n".join(SCRIPTS)
    (folder / "index.md").write_text(
        "# Gallery\n\nScripts of `examples/`. They run when this site is built, and in the tests;"
        " what they print and draw is shown as it came. `python -m examples.erase_a_class` runs"
        " one from the folder of the repository; pictures then go to `build/pictures/`.\n\n"
        + "\n\n".join(entries)
        + f"\n\n```{{toctree}}\n:hidden:\n\n{names}\n```\n",
        "utf-8",
    )


def run(name: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """The page of a script, and the variables that it leaves; pictures go into the folder."""
    sys.path[:0] = [str(ROOT)] if str(ROOT) not in sys.path else []
    from examples import pictures

    pictures.FOLDER = folder
    script = ROOT / "examples" / f"{name}.py"
    names: dict[str, Any] = {"__name__": name}
    parts = []
    for kind, source in cells(script.read_text("utf-8")):
        if kind == "markdown":
            parts.append(source)
            continue
        pictures.SHOWN.clear()
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(source, str(script), "exec"), names)  # noqa: S102
        parts.append(f"```python\n{source}\n```")
        if printed.getvalue():
            parts.append(f"```text\n{printed.getvalue().rstrip()}\n```")
        parts += [image(picture.name, text) for picture, text in pictures.SHOWN]
    parts.append(f"Source file: `examples/{name}.py`")
    return "\n\n".join(parts) + "\n", names


def cells(script: str) -> list[tuple[str, str]]:
    """Kind and source of every cell of a script, in order."""
    found = []
    for mark, body in re.findall(r"^# %%(.*)\n((?:(?!# %%).*\n?)*)", script, re.M):
        if "markdown" in mark:
            found.append(("markdown", re.sub(r"^# ?", "", body, flags=re.M).strip()))
        else:
            found.append(("code", body.strip()))
    return found


def image(name: str, text: str) -> str:
    """A picture in two files, of which the site shows the one for light or for dark pages."""
    dark = name.replace("-light.", "-dark.")
    return f"![{text}]({name}){{.only-light}}\n![{text}]({dark}){{.only-dark}}"


def digest(name: str) -> str:
    """Changes with the script, what it imports of `examples/`, and the library."""
    files = [ROOT / "examples" / f"{one}.py" for one in (name, "digits", "pictures")]
    files += [Path(__file__), *sorted((ROOT / "src").rglob("*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _entry(page: Path) -> str:
    """Title, first paragraph and first picture of a page."""
    text = page.read_text("utf-8")
    title = text.partition("\n")[0].removeprefix("# ")
    paragraph = text.split("\n\n")[1]
    pictures = "\n".join(re.findall(r"^!\[.*$", text, re.M)[:2])
    return f"## [{title}]({page.name})\n\n{paragraph}\n\n{pictures}"


if __name__ == "__main__":
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    write(Path(sys.argv[1]))
