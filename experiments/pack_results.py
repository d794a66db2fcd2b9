"""Turn folders of benchmark cells into one file a table: `python experiments/pack_results.py`.

The scores of every row are read before and after. Files of single cells and specs are removed only
when both agree.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from unspan.benchmark.report import filled
from unspan.benchmark.store import Store


def rows(root: Path) -> dict[str, list[Any]]:
    """Return the filled rows of every table of a folder."""
    store = Store(root)
    found = {}
    for name in store.names("spec"):
        spec = store.read("spec", name)
        if spec is not None:
            found[name] = filled(store, spec)
    return found


def migrate(root: Path) -> list[Path]:
    """Pack a folder and return its new files.

    Raises:
        SystemExit: the scores differ; the single cells are kept then.
    """
    before = rows(root)
    cells = {name: Store(root).read("cell", name) for name in Store(root).names("cell")}
    files = Store(root).pack()
    aside = root / "before-packing"
    for kind in ("cells", "specs"):
        if (root / kind).is_dir():
            aside.mkdir(exist_ok=True)
            (root / kind).rename(aside / kind)
    after = {name: Store(root).read("cell", name) for name in Store(root).names("cell")}
    if rows(root) != before or after != cells:
        raise SystemExit(f"{root}: scores differ after packing; the old files are in {aside}.")
    shutil.rmtree(aside, ignore_errors=True)
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, default=[Path("results/bench")])
    for folder in parser.parse_args().folders:
        print(f"{folder}: {len(migrate(folder))} files")


if __name__ == "__main__":
    main()
