"""Bake, All-CNN, deer of CIFAR-10: what an attacker gets back who holds the weights and trains on.

He has m labelled images of the class and m of every other class, from the training set, and trains
all weights on them. Step size and number of steps are the best of six on 400 further training
images, by the mean of what he names of the class and of the others. He is scored on the test set.
The retrained network never saw the class: what it gives under the same attack is the reference.
One JSON row a network, m and draw of images; a row that is there is not computed again.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from _cifar10 import DEER, SHARED, share, tensors
from _layer_attacks import Samples, named, relearned
from torch import nn
from torch.utils.data import Subset, TensorDataset

import unspan
from unspan.artifact.receipt import versions
from unspan.data.preprocess import Preprocess
from unspan.methods import Bake
from unspan.models import build
from unspan.run import Run
from unspan.zoo import AllCNN

GIVEN = {
    "original": "allcnn-cifar10-original",
    "retrained": "allcnn-cifar10-without-deer",
}  # checkpoints
SAMPLES = (10, 100)
TUNINGS = (("sgd", 0.001), ("sgd", 0.01), ("sgd", 0.05))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="of bake")
    parser.add_argument("--draws", type=int, default=3, help="of the attacker's images")
    parser.add_argument("--networks", type=Path, default=Path("build/relearn"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="*", help="names of networks; all by default")
    parser.add_argument("--json", type=Path, default=Path("results/relearn.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transform = Preprocess.from_dict(AllCNN.preprocess)
    parts = [tensors(name, transform).tensors for name in ("train", "test")]
    fit, test = (Samples(x, y, y == DEER) for x, y in parts)
    found = json.loads(args.json.read_text("utf-8")) if args.json.exists() else {"rows": []}
    found["command"] = " ".join(["python", "experiments/relearn.py", *sys.argv[1:]])
    found["versions"] = versions()
    done = {(row["network"], row["samples"], row["draw"]) for row in found["rows"]}
    for name in [*GIVEN, *(f"baked, seed {seed}" for seed in args.seeds)]:
        if args.only and name not in args.only:
            continue
        wanted = [(m, draw) for m in (0, *SAMPLES) for draw in range(args.draws if m else 1)]
        wanted = [(m, draw) for m, draw in wanted if (name, m, draw) not in done]
        model = network(name, fit, args.networks, args.device) if wanted else None
        for m, draw in wanted:
            row = {"network": name, "samples": m, "draw": draw}
            found["rows"].append(row | attacked(model, fit, test, m, draw))
            args.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
            print(json.dumps(found["rows"][-1]), flush=True)
    args.json.with_suffix(".md").write_text(page(found), "utf-8")


def network(name: str, fit: Samples, folder: Path, device: str) -> nn.Module:
    """A given network, or one that bake made of the original; kept in the folder."""
    weights = SHARED / f"checkpoints/{GIVEN.get(name, GIVEN['original'])}.safetensors"
    model = build("python:unspan.zoo:AllCNN", weights=weights).model.eval()
    model = model.to(device)
    if name in GIVEN:
        return model
    place = folder / f"{name.replace(', ', '-').replace(' ', '-')}.pt"
    if place.exists():
        model.load_state_dict(torch.load(place, map_location=device))
        return model
    data = TensorDataset(fit.x, fit.y)
    request = unspan.Request(
        forget=Subset(data, (fit.y == DEER).nonzero()[:, 0].tolist()),
        retain=Subset(data, (fit.y != DEER).nonzero()[:, 0].tolist()),
        kind="class",
        selector=("deer",),
        classes=(DEER,),
    )
    method = replace(Bake(), training=replace(Bake().training, augment="flip", precision="bf16"))
    run = Run(batch_size=500, seed=int(name.split()[-1]), device=device)
    baked = unspan.erase(model, request, method, run, check_labels=False, measure=False).model
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(baked.state_dict(), place)
    return baked


def attacked(model: nn.Module, fit: Samples, test: Samples, m: int, draw: int) -> dict[str, Any]:
    """What the best attacker with m images of each class reads of the test set.

    Args:
        model: under attack; unchanged.
        fit: training images.
        test: test images.
        m: images of each class that the attacker has; 0 for none.
        draw: which images.
    """
    if m:
        return relearned(model, fit, test, m, draw, TUNINGS)
    hit = named(model, test)
    return {"forget": share(hit[test.gone]), "others": share(hit[~test.gone])}


def page(found: dict[str, Any]) -> str:
    """Markdown of the means over draws of the attacker's images, and over seeds of bake."""
    lines = [
        "# Fine-tuning the whole network, CIFAR-10, All-CNN, deer",
        "",
        f"`{found['command']}`. {' '.join((__doc__ or '').split())}",
        "",
        "| network | m | deer named | lowest to highest | others named |",
        "|---|---|---|---|---|",
    ]
    for kind in ("original", "retrained", "baked"):
        for m in (0, *SAMPLES):
            rows = [
                row
                for row in found["rows"]
                if row["network"].startswith(kind) and row["samples"] == m
            ]
            if not rows:
                continue
            deer = [100 * row["forget"]["value"] for row in rows]
            others = mean(100 * row["others"]["value"] for row in rows)
            lines.append(
                f"| {kind} | {m} | {mean(deer):.1f} | {min(deer):.1f} to {max(deer):.1f} |"
                f" {others:.1f} |"
            )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
