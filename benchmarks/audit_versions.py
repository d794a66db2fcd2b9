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

from versions import ROOT, pair, parser_of


def main() -> None:
    """Run the pairs, print the ratios, write the JSON."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--caches", type=Path, help="folder with a cache for `base` and `now`")
    parser.add_argument("--erased", type=Path, help="folder with the model erased by each version")
    parser.add_argument("given", nargs=argparse.REMAINDER, help="arguments of `unspan audit`")
    asked = parser.parse_args()
    roots = {"base": asked.base.resolve(), "now": ROOT}
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = (asked.caches or Path(scratch)).resolve()
        command = ["audit", *asked.given, "--out", "OUT", "--cache", "OUT.cache", "--overwrite"]
        commands = dict.fromkeys(roots, command)
        if asked.erased is not None:
            own = {name: str(asked.erased.resolve() / name) for name in roots}
            commands = {
                name: [path if word == "ERASED" else word for word in command]
                for name, path in own.items()
            }
        for state in ("cold", "cached"):
            if state == "cold" and asked.caches:
                continue
            spent = pair(roots, commands, folder)
            found[state] = spent | {"ratio": round(spent["now"] / spent["base"], 3)}
            print(state, json.dumps(found[state]), flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
