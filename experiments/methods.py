"""Every method on CIFAR-10 (JPEG copy), All-CNN, class deer, at a reduced budget that a CPU can
pay.

Data: all 5,000 training images of deer, a random 10,000 of the other 45,000, the whole test set.
Settings: the best of `--trials` on validation samples, a quarter of the training data, then one run
with all of it. Epochs are cut where the defaults would take long, and training is in bf16 (in the
last column). One JSON file a method; a file that is there is not computed again.
Probes: the published KR probe, the converged linear probe and kNN-20, fitted on the 10,000 and as
many deer as of any other class. So KR here is not the published score, which sees all training
images: `unspan bench table1a` has that.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from _cifar10 import SHARED, TUNED_ON, measured, request, tensors
from _methods_table import table
from torch.utils.data import TensorDataset

import unspan
from unspan.artifact.receipt import versions
from unspan.data.preprocess import Preprocess
from unspan.erasure.tuning import rows, tune
from unspan.methods import METHODS, by_name, configured, listed
from unspan.models import build
from unspan.run import Run
from unspan.zoo import AllCNN

CUT: dict[
    str, dict[str, Any]
] = {  # settings that make a run affordable; everything else is a default or tuned
    "retrain": {"epochs": 12},
    "cf-k": {"epochs": 3},
    "finetune": {"epochs": 3},
    "l1-sparse": {"epochs": 3},
    "salun": {"epochs": 3},
    "neggrad-plus": {"epochs": 3},
    "random-labels": {"epochs": 5},
    "boundary": {"epochs": 5},
    "fisher": {"samples": 300},
    "dlfd": {"steps": 5, "every": 60, "save": 0.2},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("methods", nargs="*", help="names; all by default")
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("results/methods"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--table", action="store_true", help="only write the table of what is there"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.table:
        run_all(args)
    about = " ".join((__doc__ or "").split("\n\n")[1].split())
    (args.out.parent / "methods.md").write_text(table(args.out, about), "utf-8")
    print((args.out.parent / "methods.md").read_text("utf-8"))


def run_all(args: argparse.Namespace) -> None:
    names = args.methods or ["original", *(method.name for method in METHODS)]
    left = [name for name in names if not (args.out / f"{name}.json").exists()]
    if not left:
        return
    transform = Preprocess.from_dict(AllCNN.preprocess)
    fit, test = tensors("train", transform), tensors("test", transform)
    model = build(
        "python:unspan.zoo:AllCNN",
        weights=SHARED / "checkpoints/allcnn-cifar10-original.safetensors",
    ).model.eval()
    whole, part = request(fit, test), request(fit, test, TUNED_ON)
    for name in left:
        begun = time.perf_counter()
        result: dict[str, Any] = {
            "method": name,
            "command": " ".join(["python", "experiments/methods.py", *sys.argv[1:]]),
            "threads": args.threads,
            "versions": versions(),
        }
        if name == "original":
            result |= {"seconds": 0.0, "settings": "", "measured": measured(model, whole, test)}
        else:
            result |= erased(name, model, (whole, part), test, args.trials)
        result["seconds_in_all"] = round(time.perf_counter() - begun, 1)
        (args.out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        found = result.get("error") or rounded(result["measured"])
        print(name, found, f"{result['seconds_in_all']} s", flush=True)


def erased(
    name: str,
    model: torch.nn.Module,
    requests: tuple[unspan.Request, unspan.Request],
    test: TensorDataset,
    trials: int,
) -> dict[str, Any]:
    """What one method gives with its best settings.

    Args:
        name: of the method.
        model: to be erased.
        requests: with all of the data, and with the share for tuning.
        test: the test set.
        trials: settings that are tried.
    """
    whole, part = requests
    kind = by_name(name)
    precision = {"precision": "bf16"} if "precision" in dict(listed(kind)) else {}
    fixed = CUT.get(name, {}) | precision
    run = Run(batch_size=250)
    method, tried = configured(kind, fixed), []
    if kind.search:
        method, tried = tune(model, part, kind, trials, run, fixed, check_labels=False)
    result: dict[str, Any] = {}
    try:
        done = unspan.erase(model, whole, method, run, check_labels=False, measure=False)
        result |= {
            "seconds": done.receipt["seconds"]["fit"],
            "history": done.receipt["method"]["fit"].get("history", []),
            "measured": measured(done.model, whole, test),
        }
    except unspan.UnspanError as error:
        result |= {"error": str(error)}
    best = min(tried, key=lambda one: -one.score, default=None)
    return result | {
        "cut": fixed,
        "settings": repr(method),
        "chosen": {} if best is None else best.settings,
        "trials": rows(tried),
    }


def rounded(found: dict[str, Any]) -> dict[str, float]:
    """Values of scores for the screen."""
    return {
        key: round(value["value"] if isinstance(value, dict) else value, 3)
        for key, value in found.items()
    }


if __name__ == "__main__":
    main()
