"""CPU time of the default `unspan erase` of one class of CIFAR-10 with `--eval test`, beside that
of an older version.

    python benchmarks/erase_cli.py --base ../base/src --json results/erase-cli.json

Both versions start at the same time, on one thread each, so that other load on the machine hits
both alike; what is compared is CPU time (user and system, as the kernel counts it), not the clock.
`--pairs` repeats that. The accuracies of both receipts stand beside the times. Data and checkpoint
are the shared ones (All-CNN, JPEG copy of CIFAR-10).
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
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def started(source: Path, out: Path, data: Path, weights: Path) -> subprocess.Popen[bytes]:
    """The command of one version, writing to `out`."""
    command = [sys.executable, "-m", "unspan", "erase", "--model", "python:unspan.zoo:AllCNN"]
    command += ["--weights", str(weights), "--data", str(data), "--forget", "deer"]
    command += ["--eval", "test", "--out", str(out), "--seed", "0"]
    environment = os.environ | {"PYTHONPATH": str(source.resolve()), "OMP_NUM_THREADS": "1"}
    with open(out.with_suffix(".log"), "wb") as log:
        return subprocess.Popen(
            command, cwd=out.parent, env=environment, stdout=log, stderr=subprocess.STDOUT
        )


def ended(process: subprocess.Popen[bytes], out: Path) -> dict[str, Any]:
    """CPU seconds of a command, and what its receipt says."""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(
            f"{out.name} ended with {process.returncode}:\n{out.with_suffix('.log').read_text()}"
        )
    receipt = json.loads((out / "receipt.json").read_text())
    return {
        "user": round(used.ru_utime, 2),
        "system": round(used.ru_stime, 2),
        "cpu": round(used.ru_utime + used.ru_stime, 2),
        "method": receipt["method"]["name"],
        "accuracy": [
            {key: row[key] for key in ("split", "n", "before", "after")}
            for row in receipt.get("evaluation") or []
        ],
    }


def pair(base: Path, data: Path, weights: Path) -> dict[str, dict[str, Any]]:
    """Both versions at once."""
    with tempfile.TemporaryDirectory() as folder:
        outs = {name: Path(folder) / name for name in ("base", "now")}
        sources = {"base": base, "now": ROOT / "src"}
        running = {name: started(sources[name], outs[name], data, weights) for name in outs}
        return {name: ended(running[name], outs[name]) for name in outs}


def main() -> None:
    """Run the pairs, print the ratio, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, required=True, help="src folder of the older version")
    parser.add_argument("--data", type=Path, default=SHARED / "data/cifar10")
    weights = SHARED / "checkpoints/allcnn-cifar10-original.safetensors"
    parser.add_argument("--weights", type=Path, default=weights)
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    pairs = [pair(given.base, given.data, given.weights) for _ in range(given.pairs)]
    ratio = statistics.median(one["now"]["cpu"] / one["base"]["cpu"] for one in pairs)
    found = {"ratio": round(ratio, 3), "pairs": pairs}
    print(json.dumps(found, indent=1))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
