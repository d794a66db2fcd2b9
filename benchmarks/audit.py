"""Cost of two parts of the audit against what they replace.

`kr`: the published KR loop, which recomputes features with a frozen backbone in every epoch,
against the same training on cached features (one pass, then the head alone); All-CNN on CIFAR-10
(JPEG copy), original and ESC, class deer.
`fit`: the converged probe against scikit-learn's LogisticRegression(lbfgs), both until the
objective is within 1e-6 (relative) of the optimum, on the cached CIFAR features and on synthetic
features of width 768.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from pathlib import Path

import torch
from _linear_fit import race, synthetic
from _retention import body, cifar, kr, read

from unspan.artifact.receipt import versions


def asked() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", default=["kr", "fit"], help="kr, fit-cifar, fit-768, or fit for both"
    )
    parser.add_argument(
        "--n", type=int, default=5000, help="training images of kr; 50000 is the published run"
    )
    parser.add_argument(
        "--test", type=int, help="test images of kr; default a fifth of --n, the share of CIFAR-10"
    )
    parser.add_argument(
        "--models", nargs="*", choices=["original", "ESC"], default=["original", "ESC"]
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--budget",
        type=float,
        default=120.0,
        help="no further scikit-learn tolerance after one fit took so many seconds",
    )
    parser.add_argument("--features", type=int, default=50000, help="training rows of fit")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.test = args.test or args.n // 5
    return args


def main() -> None:
    args = asked()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    result: dict = (
        json.loads(args.json.read_text("utf-8")) if args.json and args.json.exists() else {}
    )
    wanted = {
        part
        for given in args.parts
        for part in (("fit-cifar", "fit-768") if given == "fit" else (given,))
    }
    if "kr" in wanted:
        result["kr"] = kr(args, result.get("kr", {}))
    if "fit-cifar" in wanted:
        model, data = cifar(args.features, 1)
        result["fit-cifar"] = race(
            "cifar 96", read(body(model, None), data["train"][0]), data["train"][1], args.budget
        )
    if "fit-768" in wanted:
        result["fit-768"] = race("synthetic 768", *synthetic(args.features, 768), args.budget)
    for part in wanted:
        result[part] |= {
            "threads": args.threads,
            "cores": os.cpu_count(),
            "command": " ".join(["python", "benchmarks/audit.py", *sys.argv[1:]]),
        }
    result["versions"] = versions()
    print(
        json.dumps(
            {
                part: {
                    k: v
                    for k, v in result[part].items()
                    if k.startswith(("ratio", "points", "speed", "seconds"))
                }
                for part in sorted(wanted)
            },
            indent=1,
        )
    )
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
