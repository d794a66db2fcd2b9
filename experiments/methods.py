"""Every method on CIFAR-10 (JPEG copy), All-CNN, class deer, at a reduced budget that a CPU can
pay.

Data: all 5,000 training images of deer, a random 10,000 of the other 45,000, the whole test set.
Settings: the best of `--trials` by `unspan.erasure.tuning` (validation samples from a quarter of
the training data, never the test set), then one run with all of the data. Epochs are cut where the
defaults would take long, and training is in bf16 (in the last column). One JSON file a method; a
file that is there is not computed again.
Probes: the published KR probe, the converged linear probe and kNN-20, fitted on the 10,000 and as
many deer as of any other class.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Subset, TensorDataset

import unspan
from unspan.artifact.receipt import versions
from unspan.auditing.collect import subject
from unspan.data.loading import batches
from unspan.data.opening import open_data
from unspan.data.preprocess import Preprocess
from unspan.erasure.tuning import rows, tune
from unspan.extraction import eval_mode, read
from unspan.methods import METHODS, by_name, configured, listed
from unspan.metrics.linear import linear_probe
from unspan.metrics.membership import loss_attack, losses
from unspan.metrics.neighbours import nearest
from unspan.metrics.outputs import Outputs
from unspan.metrics.retention import harmonic_mean, published_probe
from unspan.metrics.score import share_interval
from unspan.models import build
from unspan.run import Run
from unspan.zoo import AllCNN

SHARED = Path(os.environ.get("UNSPAN_SHARED", Path(__file__).resolve().parents[2] / "shared"))
DEER, RETAINED, TUNED_ON = 4, 10_000, 0.25
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


def tensors(name: str, transform: Preprocess) -> TensorDataset:
    """A split of CIFAR-10 in memory, prepared as the model takes it."""
    found = list(
        batches(
            open_data(str(SHARED / "data/cifar10"), transform=transform)[name], Run(batch_size=500)
        )
    )
    return TensorDataset(
        torch.cat([one.inputs[: len(one)] for one in found]),
        torch.cat([one.labels for one in found]),
    )


def request(fit: TensorDataset, test: TensorDataset, share: float = 1.0) -> unspan.Request:
    """Deer, and so many of the others; a share of both for tuning."""
    stream = torch.Generator().manual_seed(0)
    y = fit.tensors[1]
    parts = []
    for mask, most in ((y == DEER, 5000), (y != DEER, RETAINED)):
        index = mask.nonzero()[:, 0]
        parts.append(
            index[torch.randperm(len(index), generator=stream)[: round(share * most)]]
            .sort()
            .values.tolist()
        )
    splits = unspan.Request(
        forget=Subset(fit, parts[0]),
        retain=Subset(fit, parts[1]),
        kind="class",
        selector=("deer",),
        classes=(DEER,),
    )
    deer = (test.tensors[1] == DEER).nonzero()[:, 0]
    return replace(splits, holdout=Subset(test, deer[: len(deer) // 5].tolist()))


def outputs(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> Outputs:
    """Features and scores in one pass, a slice at a time."""
    found = subject("model", model, x[:2])
    with eval_mode(model):
        features, scores = (
            torch.cat(part).float()
            for part in zip(
                *(read(found.model, found.feature_layer, part) for part in x.split(500)),
                strict=True,
            )
        )
    return Outputs(features=features, logits=scores, labels=y, forget=y == DEER)


def share(hit: torch.Tensor) -> dict[str, Any]:
    low, high = share_interval(float(hit.sum()), len(hit))
    return {"value": float(hit.double().mean()), "low": low, "high": high, "n": len(hit)}


def measured(model: torch.nn.Module, splits: unspan.Request, test: TensorDataset) -> dict[str, Any]:
    """Accuracies of the own head and of probes, and the loss attack; held-out deer are left out of
    the test set.
    """
    held = set(splits.holdout.indices)
    kept = torch.tensor([i for i in range(len(test)) if i not in held])
    seen = outputs(
        model,
        *(torch.stack(list(part)) for part in zip(*[*splits.forget, *splits.retain], strict=True)),
    )
    tested = outputs(model, *(part[kept] for part in test.tensors))
    found: dict[str, Any] = {}
    for name, part in (("train", seen), ("test", tested)):
        right = part.logits.argmax(1) == part.labels
        found |= {
            f"{name} forget": share(right[part.forget]),
            f"{name} retain": share(right[~part.forget]),
        }
        found[f"HM {name}"] = harmonic_mean(
            100 * found[f"{name} forget"]["value"], 100 * found[f"{name} retain"]["value"]
        )
    deer = seen.forget.nonzero()[:, 0]
    fair = seen.rows(
        torch.cat([deer[: int((~seen.forget).sum()) // 9], (~seen.forget).nonzero()[:, 0]])
    )  # as many deer as of any other class
    for name, reading in (
        ("KR (published)", published_probe(fair, tested, 0)),
        ("converged probe", linear_probe(fair, tested, 0)),
        (
            "kNN-20",
            next(one for one in nearest(fair, tested, seed=0) if one.attack == "kNN k=20, L2"),
        ),
    ):
        found[name] = {
            "value": reading.value,
            "low": reading.interval()[0],
            "high": reading.interval()[1],
            "n": len(reading.forget),
        }
    attack = loss_attack(
        losses(seen.rows(seen.forget)), losses(tested.rows(tested.forget)), "deer", seed=0
    )[0]
    found["MIA (balanced)"] = {
        "value": attack.value,
        "low": attack.low,
        "high": attack.high,
        "n": attack.n,
    }
    return found


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
    (args.out.parent / "methods.md").write_text(table(args.out), "utf-8")
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
            kind = by_name(name)
            fixed = CUT.get(name, {}) | (
                {"precision": "bf16"} if "precision" in dict(listed(kind)) else {}
            )
            method, trials = (
                tune(model, part, kind, args.trials, Run(batch_size=250), fixed, check_labels=False)
                if kind.search
                else (configured(kind, fixed), [])
            )
            run = Run(batch_size=250)
            try:
                done = unspan.erase(model, whole, method, run, check_labels=False, measure=False)
                result |= {
                    "seconds": done.receipt["seconds"]["fit"],
                    "history": done.receipt["method"]["fit"].get("history", []),
                    "measured": measured(done.model, whole, test),
                }
            except unspan.UnspanError as error:
                result |= {"error": str(error)}
            result |= {
                "cut": fixed,
                "settings": repr(method),
                "chosen": next(
                    (one.settings for one in sorted(trials, key=lambda one: -one.score)), {}
                ),
                "trials": rows(trials),
            }
        result["seconds_in_all"] = round(time.perf_counter() - begun, 1)
        (args.out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        print(
            name,
            result.get("error")
            or {
                key: round(value["value"] if isinstance(value, dict) else value, 3)
                for key, value in result["measured"].items()
            },
            f"{result['seconds_in_all']} s",
            flush=True,
        )


def table(folder: Path) -> str:
    """Markdown of every file in the folder."""
    lines = [
        "# Every method on CIFAR-10, All-CNN, class deer, at a reduced budget",
        "",
        "`python experiments/methods.py` (JSON in `results/methods/`). "
        + " ".join((__doc__ or "").split("\n\n")[1].split()),
        "",
        (
            "D_f, D_r: accuracy in percent of the model itself on training images of deer and on"
            " the 10,000 others; D_ft, D_rt: on test images (n = 800 deer, 9,000 others). KR: the"
            " published probe on test deer; probe, kNN: converged linear probe and 20 nearest"
            " neighbours on test deer. MIA: balanced loss attack, 50 is ideal. One seed. Intervals"
            " are in the JSON."
        ),
        "",
        (
            "| method | needs D_r | D_f ↓ | D_r ↑ | D_ft ↓ | D_rt ↑ | HM_t ↑ | KR ↓ | probe ↓ | kNN"
            " ↓ | MIA | seconds | chosen |"
        ),
        "|" + "---|" * 13,
    ]
    order = ["original", *(method.name for method in METHODS)]
    for path in sorted(
        folder.glob("*.json"), key=lambda path: order.index(path.stem) if path.stem in order else 99
    ):
        one = json.loads(path.read_text("utf-8"))
        needs = (
            ""
            if one["method"] == "original"
            else "yes"
            if "retain" in by_name(one["method"])().needs
            else "no"
        )
        chosen = ", ".join(
            f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in {**one.get("cut", {}), **one.get("chosen", {})}.items()
        )
        if "error" in one:
            lines.append(
                f"| {one['method']} | {needs} | {one['error'][:160]} |" + " |" * 9 + f" {chosen} |"
            )
            continue
        m = one["measured"]
        cells = (
            [
                100 * m[key]["value"]
                for key in ("train forget", "train retain", "test forget", "test retain")
            ]
            + [m["HM test"]]
            + [
                100 * m[key]["value"]
                for key in ("KR (published)", "converged probe", "kNN-20", "MIA (balanced)")
            ]
        )
        lines.append(
            f"| {one['method']} | {needs} | "
            + " | ".join(f"{value:.1f}" for value in cells)
            + f" | {one['seconds']:.0f} | {chosen} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
