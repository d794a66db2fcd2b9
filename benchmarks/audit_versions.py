"""CPU time of a whole `unspan audit` beside that of an older version, cold and with cached outputs.

    python benchmarks/audit_versions.py --base ../base --json results/audit-versions.json \
      python:unspan.zoo:AllCNN ERASED --weights W --reference R --data DATA

What follows the options is what `unspan audit` is given, without --out and --cache. Both versions
start at the same time, on one thread each, so other load hits both alike. Compared is CPU time.
Both read the same erased model. The first audit of a version fills its cache, the second reads
it. A version reads no receipt of another schema: then each erases the model itself, into folders
`base` and `now` of one folder, and `--erased FOLDER` puts its own in place of the word ERASED.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from versions import ROOT, seconds, started


def pair(
    roots: dict[str, Path], command: list[str], folder: Path, erased: Path | None
) -> dict[str, float]:
    """CPU seconds of both versions, run at once, each with a cache of its own."""
    outs = {name: folder / name for name in roots}
    running = {}
    for name, root in roots.items():
        own = "ERASED" if erased is None else str(erased.resolve() / name)
        words = [own if word == "ERASED" else word for word in command]
        running[name] = started(root, words, outs[name])
    return {name: seconds(running[name], outs[name]) for name in roots}


def main() -> None:
    """Run the pairs, print the ratios, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, required=True, help="checkout of the older version")
    parser.add_argument("--caches", type=Path, help="folder with a cache for `base` and `now`")
    parser.add_argument("--erased", type=Path, help="folder with the model erased by each version")
    parser.add_argument("--json", type=Path)
    parser.add_argument("given", nargs=argparse.REMAINDER, help="arguments of `unspan audit`")
    asked = parser.parse_args()
    roots = {"base": asked.base.resolve(), "now": ROOT}
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as own:
        folder = (asked.caches or Path(own)).resolve()
        command = ["audit", *asked.given, "--out", "OUT", "--cache", "OUT.cache", "--overwrite"]
        for state in ("cold", "cached"):
            if state == "cold" and asked.caches:
                continue
            spent = pair(roots, command, folder, asked.erased)
            found[state] = spent | {"ratio": round(spent["now"] / spent["base"], 3)}
            print(state, json.dumps(found[state]), flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
