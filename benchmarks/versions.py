"""CPU time of `unspan erase` and `unspan audit` on digits, beside that of an older version.

    python benchmarks/versions.py --base ../base --json results/versions.json

Needs no data beside scikit-learn's digits. Both versions start at the same time, on one thread
each, so that other load on the machine hits both alike; what is compared is CPU time (user and
system, as the kernel counts it), not the clock. Both audit the untouched network, as if it had been
erased: no version has to read what another one wrote.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODEL, DATA = "python:examples.digits:model", "python:examples.digits:data"


def commands(weights: Path) -> dict[str, list[str]]:
    """What is timed; `OUT` stands for a fresh folder."""
    given = ["--weights", str(weights), "--data", DATA, "--forget", "3", "--out", "OUT"]
    return {
        "erase": ["erase", "--model", MODEL, *given, "--eval", "train,test"],
        "audit": ["audit", MODEL, str(weights), *given, "--cache", "OUT.cache"],
    }


def started(root: Path, command: list[str], out: Path) -> subprocess.Popen[bytes]:
    """A command of the checkout `root`, writing to `out`."""
    words = [one.replace("OUT", str(out)) for one in command]
    paths = os.pathsep.join([str(root / "src"), str(root)])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    with open(out.with_suffix(".log"), "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "unspan", *words],
            cwd=out.parent,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def seconds(process: subprocess.Popen[bytes], out: Path) -> float:
    """CPU seconds of a command that has been started; ends the program where it failed."""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"ended with {process.returncode}:\n{out.with_suffix('.log').read_text()}")
    return round(used.ru_utime + used.ru_stime, 2)


def pair(roots: dict[str, Path], commands: dict[str, list[str]], folder: Path) -> dict[str, float]:
    """CPU seconds of the versions, run at once, each with its command and a place of its own in
    `folder`.
    """
    outs = {name: folder / name for name in roots}
    running = {name: started(root, commands[name], outs[name]) for name, root in roots.items()}
    return {name: seconds(running[name], outs[name]) for name in roots}


def parser_of(text: str) -> argparse.ArgumentParser:
    """The options of every comparison with an older version."""
    made = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--base", type=Path, required=True, help="checkout of the older version")
    made.add_argument("--json", type=Path)
    return made


def main() -> None:
    """Run the pairs, print the ratios, write the JSON."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--pairs", type=int, default=5)
    given = parser.parse_args()
    roots = {"base": given.base.resolve(), "now": ROOT}
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        code = "from examples import digits; digits.train()"
        environment = os.environ | {"PYTHONPATH": f"{ROOT}/src:{ROOT}", "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True)
        for name, command in commands(Path(folder) / "build/digits.safetensors").items():
            pairs = []
            for _ in range(given.pairs):
                with tempfile.TemporaryDirectory() as fresh:
                    pairs.append(pair(roots, dict.fromkeys(roots, command), Path(fresh)))
            ratio = statistics.median(one["now"] / one["base"] for one in pairs)
            found[name] = {"ratio": round(ratio, 3), "pairs": pairs}
            print(f"{name}: {ratio:.3f}", json.dumps(pairs), flush=True)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
