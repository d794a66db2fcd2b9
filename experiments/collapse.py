"""Correlation collapse (the claim of DLFD): what does forgetting single images cost, method by
method?

CIFAR-10 (JPEG copy), All-CNN trained on all 50,000: forget 1,000 random training images, keep 5,000
others, choose by 1,000 test images (`holdout`), report on the other 9,000. Every method runs at
several strengths. x: forgetting score 2 |MIA - 0.5| of a balanced loss attack, forget against 3,000
unseen test images (lower is better forgotten); y: test accuracy. Collapse is a curve that falls
towards the left. DLFD stops perturbing below its score (`stop`); a strength without an admissible
state is printed and left out. A seed draws the images to be forgotten and to be kept, and is the
seed of the method; points are means over the seeds, with their standard deviations as bars.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from _cifar10 import SHARED, outputs, tensors
from torch.utils.data import Subset

import unspan
from unspan.artifact.receipt import versions
from unspan.data.preprocess import Preprocess
from unspan.errors import InconclusiveError
from unspan.methods import by_name, configured
from unspan.metrics.membership import loss_attack, losses
from unspan.metrics.outputs import Outputs
from unspan.models import build
from unspan.run import Run
from unspan.zoo import AllCNN

STRENGTHS: dict[str, list[dict[str, Any]]] = {
    "finetune": [{"lr": lr, "epochs": 2} for lr in (1e-3, 3e-3, 1e-2, 3e-2)],
    "neggrad": [{"lr": lr, "epochs": 2, "stop_at": None} for lr in (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)],
    "bad-teaching": [{"lr": lr, "retain_share": 1.0} for lr in (1e-5, 3e-5, 1e-4, 3e-4)],
    "dlfd": [
        {"stop": score, "save": score, "steps": 5, "epochs": 2}
        for score in (0.08, 0.06, 0.04, 0.02)
    ],
    "dlfd, always perturbing": [
        {"lr": lr, "save": 1.0, "steps": 5, "every": 1000, "stop": 0.0, "radius": radius / 255}
        for lr, radius in ((1e-3, 8), (3e-3, 8), (8e-3, 8), (8e-3, 16))
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, default=Path("results/collapse.json"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    result: dict[str, Any] = (
        json.loads(args.json.read_text("utf-8")) if args.json.exists() else {"points": []}
    )
    have = {(point["seed"], *_strength(point)) for point in result["points"]}
    left = [
        (seed, name, settings)
        for seed in args.seeds
        for name, all_ in ({"original": [{}]} | STRENGTHS).items()
        for settings in all_
        if (seed, name, json.dumps(settings, sort_keys=True)) not in have
    ]
    for point in measured_points(left) if left else ():
        result["points"].append(point)
        result |= {
            "command": " ".join(["python", "experiments/collapse.py", *sys.argv[1:]]),
            "versions": versions(),
        }
        args.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        print(json.dumps(point), flush=True)
    draw(result["points"], args.json.with_suffix(".svg"))


def _strength(point: dict[str, Any]) -> tuple[str, str]:
    """Method and settings of a point."""
    return point["method"], json.dumps(point["settings"], sort_keys=True)


def measured_points(left: list[tuple[int, str, dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """The points of these seeds, methods and settings, one at a time."""
    transform = Preprocess.from_dict(AllCNN.preprocess)
    fit, test = tensors("train", transform), tensors("test", transform)
    model = build(
        "python:unspan.zoo:AllCNN",
        weights=SHARED / "checkpoints/allcnn-cifar10-original.safetensors",
    ).model.eval()
    places = torch.randperm(len(test), generator=torch.Generator().manual_seed(1)).tolist()
    for seed, name, settings in left:
        order = torch.randperm(len(fit), generator=torch.Generator().manual_seed(seed)).tolist()
        splits = unspan.Request(
            forget=Subset(fit, order[:1000]),
            retain=Subset(fit, order[1000:6000]),
            holdout=Subset(test, places[:1000]),
            kind="samples",
            selector=("1000 samples",),
        )
        try:
            done = None if name == "original" else erased(model, splits, name, settings, seed)
        except InconclusiveError as error:
            print(seed, name, settings, error, flush=True)
            continue
        after = model if done is None else done.model
        forget = outputs(after, *(part[order[:1000]] for part in fit.tensors))
        tested = outputs(after, *(part[places[1000:]] for part in test.tensors))
        yield {
            "seed": seed,
            "method": name,
            "settings": settings,
            "seconds": 0.0 if done is None else done.receipt["seconds"]["fit"],
            **read_of(forget, tested),
        }


def erased(
    model: torch.nn.Module, splits: unspan.Request, name: str, settings: dict[str, Any], seed: int
) -> unspan.Deletion:
    method = configured(by_name(name.partition(",")[0]), settings | {"precision": "bf16"})
    run = Run(batch_size=250, seed=seed)
    return unspan.erase(model, splits, method, run, check_labels=False, measure=False)


def read_of(forget: Outputs, tested: Outputs) -> dict[str, float | None]:
    """Accuracies, and the loss attack with its interval."""
    unseen = losses(tested.rows(torch.arange(3000)))
    attack = loss_attack(losses(forget), unseen, "forget against unseen")[0]
    right = {
        name: float((one.logits.argmax(1) == one.labels).double().mean())
        for name, one in (("test", tested), ("forget", forget))
    }
    return {
        "test_accuracy": right["test"],
        "forget_accuracy": right["forget"],
        "attack": attack.value,
        "attack_low": attack.low,
        "attack_high": attack.high,
    }


def draw(points: list[dict[str, Any]], path: Path) -> None:
    """One curve a method, in the order of its strengths, with bars of one standard deviation."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.2))
    marks = {
        "original": "*",
        "finetune": "o",
        "neggrad": "v",
        "bad-teaching": "s",
        "dlfd": "D",
        "dlfd, always perturbing": "x",
    }
    for name, mark in marks.items():
        own = averaged([point for point in points if point["method"] == name])
        if not own:
            continue
        axes.errorbar(
            [one["score"] for one in own],
            [one["accuracy"] for one in own],
            xerr=[one["score_deviation"] for one in own],
            yerr=[one["accuracy_deviation"] for one in own],
            marker=mark,
            markersize=11 if mark == "*" else 6,
            elinewidth=0.8,
            label=name,
        )
    axes.set_xlabel("forgetting score 2 |MIA − 0.5| (left: forgotten)")
    axes.set_ylabel("test accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    axes.set_ylim(bottom=0)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def averaged(points: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Means and standard deviations over the seeds of every strength, in the order of strengths.

    Forgetting score and accuracy are in [0, 1] and in percent; the deviation of one seed is 0.
    """
    found = []
    for strength in dict.fromkeys(map(_strength, points)):
        own = [point for point in points if _strength(point) == strength]
        scores = [2 * abs(point["attack"] - 0.5) for point in own]
        right = [100 * point["test_accuracy"] for point in own]
        found.append(
            {
                "seeds": len(own),
                "score": statistics.fmean(scores),
                "score_deviation": statistics.stdev(scores) if len(own) > 1 else 0.0,
                "accuracy": statistics.fmean(right),
                "accuracy_deviation": statistics.stdev(right) if len(own) > 1 else 0.0,
            }
        )
    return found


if __name__ == "__main__":
    main()
