"""Bake, All-CNN, class 4: what a tenth of the work of training anew leaves readable, layer by
layer.

Data: all training images of the class (deer of the JPEG copy of CIFAR-10, coats of Fashion-MNIST),
all others, the test set. Retraining read 450,000 images on CIFAR-10 (10 epochs), and 162,000 on
Fashion-MNIST (3 epochs). A tenth is allowed. A training pass of an image counts 1, a forward pass
1/3. Settings stand below. Those of bake were chosen with 500 deer
and 4,500 others of the training set held out. Accuracy was also judged on 1,000 test images, which
are left out of the results. Attackers fit on the training features of all classes with true labels,
and are scored on test deer. DLFD stops by the first 200 test deer, which are among those it is
scored on. Rows with held-out images give bake those 1,000 test images to see what it costs. Nothing
was chosen on Fashion-MNIST. One JSON row a network; a row that is there is not
computed again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from _bake_attacks import asked_twice, measured, validation
from _bake_table import table
from _cifar10 import DEER, SHARED
from _networks import data, network
from torch import nn
from torch.utils.data import Subset, TensorDataset

import unspan
from unspan.artifact.receipt import versions
from unspan.data.inputs import place
from unspan.extraction import eval_mode, forward, input_like
from unspan.methods import DLFD, Boundary, RandomLabels
from unspan.methods.bake import Bake
from unspan.models import build
from unspan.run import Run
from unspan.zoo import AllCNN


@dataclass(frozen=True)
class Case:
    """A trained network, and the work that a tenth of training it anew is, in images."""

    network: str  # of experiments/survive.py
    budget: int
    steps: int  # of bake, within the budget


CASES = {
    "cifar10": Case("cifar10-allcnn", 45_000, Bake().steps),
    "fashion-mnist": Case("fashion-mnist-allcnn", 16_200, 70),
}
OTHERS = {  # settings of results/methods/*.json: the best of three on validation samples
    "random labels": RandomLabels(
        training=replace(RandomLabels().training, lr=1e-5, epochs=5, precision="bf16")
    ),
    "boundary shrink": Boundary(
        training=replace(Boundary().training, lr=1e-5, epochs=5, precision="bf16")
    ),
    "dlfd": DLFD(
        steps=5,
        every=60,
        save=0.2,
        radius=8 / 255,
        training=replace(DLFD().training, lr=0.02, precision="bf16"),
    ),
}
FEW = {"baked, 200 a class": 200, "baked, 20 a class": 20}  # retained images of each class
NONE = (
    "baked, quarters of deer for retained",
    "baked, quarters of deer and Fashion-MNIST",
    "baked, Fashion-MNIST for retained",
    "baked, noise for retained",
)  # labelled by the network itself
HELD = "baked, held-out images"  # the 1,000 test images that are left out of the results
GIVEN = {
    "original": "allcnn-cifar10-original",
    "retrained": "allcnn-cifar10-without-deer",
}  # checkpoints of CIFAR-10


def settings(steps: int) -> Bake:
    """The defaults, with the flips that the network was trained with, in bf16."""
    return replace(
        Bake(), steps=steps, training=replace(Bake().training, augment="flip", precision="bf16")
    )


def names(case: Case, seeds: list[int]) -> list[str]:
    """Rows of a table, in order."""
    more = (*FEW, *NONE, *OTHERS) if case is CASES["cifar10"] else tuple(FEW)
    kinds = ("baked", HELD) if case is CASES["cifar10"] else ("baked",)
    return [*GIVEN, *(f"{kind}, seed {seed}" for kind in kinds for seed in seeds), *more]


def trained(name: str, case: Case, fit: TensorDataset, folder: Path) -> nn.Module:
    """The original or the retrained network; that of Fashion-MNIST is trained here once."""
    if case is CASES["cifar10"]:
        return build(
            "python:unspan.zoo:AllCNN", weights=SHARED / f"checkpoints/{GIVEN[name]}.safetensors"
        ).model.eval()
    x, y = fit.tensors
    kept = torch.ones(len(y), dtype=torch.bool) if name == "original" else y != DEER
    return network(
        case.network + ("" if name == "original" else "-retrained"),
        AllCNN,
        (x[kept], y[kept]),
        folder,
        epochs=3,
    )


def retained(name: str, fit: TensorDataset, model: nn.Module) -> TensorDataset:
    """The images that stand for the data to keep: all of them, a few of each class, or none of them
    but other images, labelled by the network.
    """
    x, y = fit.tensors
    stream = torch.Generator().manual_seed(0)
    if name not in NONE:
        rows = [(y == one).nonzero()[:, 0] for one in range(10) if one != DEER]
        kept = (
            torch.cat(
                [
                    one[torch.randperm(len(one), generator=stream)[: FEW.get(name, len(one))]]
                    for one in rows
                ]
            )
            .sort()
            .values
        )
        return TensorDataset(x[kept], y[kept])
    parts = []
    if "quarters" in name:
        parts.append(quarters(x[y == DEER], 30_000 if "and" in name else 45_000, stream))
    if "Fashion" in name:
        parts.append(
            nn.functional.pad(
                data("fashion-mnist")["train"][0][: 15_000 if parts else 45_000],
                (2, 2, 2, 2),
                value=-1.0,
            )
        )
    x = (
        torch.cat(parts)
        if parts
        else torch.randn(45_000, *x.shape[1:], generator=stream).clamp(-1, 1)
    )
    like = input_like(model, x[:2])
    with eval_mode(model):
        scores = torch.cat([forward(model, place(part, like)).cpu() for part in x.split(500)])
    return TensorDataset(x, scores.index_fill(1, torch.tensor([DEER]), -torch.inf).argmax(1))


def quarters(x: torch.Tensor, count: int, stream: torch.Generator) -> torch.Tensor:
    """Images `[count, 3, h, w]` of four patches each, from four images, the colours exchanged: what
    can be had without other data.
    """
    half, made = x.shape[2] // 2, torch.empty(count, *x.shape[1:])
    for part in made.split(1000):
        for row, column in itertools.product((0, half), (0, half)):
            top, left = torch.randint(half + 1, (2,), generator=stream).tolist()
            part[:, :, row : row + half, column : column + half] = x[
                torch.randint(len(x), (len(part),), generator=stream),
                :,
                top : top + half,
                left : left + half,
            ]
        part.copy_(part[:, torch.randperm(3, generator=stream)])
    return made


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--case", choices=CASES, default="cifar10")
    parser.add_argument(
        "--networks", type=Path, default=Path("build/survive"), help="trained networks"
    )
    parser.add_argument(
        "--out", type=Path, help="default results/bake.json, or results/bake-CASE.json"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu", help="where networks run; attacks do not")
    parser.add_argument("--only", nargs="*", help="names of rows; all by default")
    parser.add_argument(
        "--table", action="store_true", help="only write the table of what is there"
    )
    args = parser.parse_args()
    args.out = args.out or Path(
        "results/bake.json" if args.case == "cifar10" else f"results/bake-{args.case}.json"
    )
    return args


def main() -> None:
    """Compute the rows that are missing, and write the page."""
    args = arguments()
    args.networks.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    rows: dict[str, Any] = json.loads(args.out.read_text("utf-8")) if args.out.exists() else {}
    if not args.table:
        fill(rows, args)
    made = page(rows, CASES[args.case], args.out)
    args.out.with_suffix(".md").write_text(made, "utf-8")
    print(made)


def fill(rows: dict[str, Any], args: argparse.Namespace) -> None:
    """Compute the rows that are missing, and keep each at once."""
    case = CASES[args.case]
    fit, test = (TensorDataset(*part) for part in data(args.case).values())
    seeded = (*GIVEN, *(f"baked, seed {seed}" for seed in args.seeds))
    for name in [one for one in names(case, args.seeds) if not args.only or one in args.only]:
        twice = name in seeded and "asked twice" not in rows.get(name, {})
        if name in rows and not twice:
            continue
        model = trained(name if name in GIVEN else "original", case, fit, args.networks)
        model = model.to(args.device)
        begun = time.perf_counter()
        row = {
            "command": " ".join(["python", "experiments/bake.py", *sys.argv[1:]]),
            "threads": args.threads,
            "device": args.device,
            "versions": versions(),
        }
        if name not in GIVEN:
            model, story = erased(name, case, model, fit, test, args.device)
            row |= story
            print("trained", round(row["seconds"], 1), flush=True)
        rows[name] = rows.get(name) or row | {
            "measured": measured(model, fit, test),
            "seconds in all": round(time.perf_counter() - begun, 1),
        }
        if twice:
            rows[name]["asked twice"] = asked_twice(model, fit, test)
        args.out.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
        print(name, rows[name]["seconds in all"], flush=True)


def erased(
    name: str,
    case: Case,
    model: nn.Module,
    fit: TensorDataset,
    test: TensorDataset,
    device: str,
) -> tuple[nn.Module, dict[str, Any]]:
    """The model of a row after the deletion, and how it was made."""
    forget = Subset(fit, (fit.tensors[1] == DEER).nonzero()[:, 0].tolist())
    holdout = None
    if name == "dlfd":
        holdout = Subset(test, (test.tensors[1] == DEER).nonzero()[:200, 0].tolist())
    elif name.startswith(HELD):
        holdout = Subset(test, validation(test.tensors[1]).nonzero()[:, 0].tolist())
    keep = retained(name, fit, model)
    request = unspan.Request(
        forget=forget,
        retain=keep,
        kind="class",
        selector=("4",),
        classes=(DEER,),
        holdout=holdout,
    )
    method = OTHERS.get(name) or settings(case.steps)
    seed = int(name.split()[-1]) if "seed" in name else 0
    run = Run(batch_size=500, seed=seed, device=device)
    done = unspan.erase(model, request, method, run, check_labels=False, measure=False)
    report = done.receipt["method"]["fit"]
    story = {
        "settings": repr(method),
        "seconds": done.receipt["seconds"]["fit"],
        "history": report["history"],
    }
    if name not in OTHERS:
        story |= {
            "trained": report["trained"],
            "asked": report["asked"],
            "lowered": report["lowered"],
            "images": report["trained"] + report["asked"] / 3,
        }
    return done.model, story


def page(rows: dict[str, Any], case: Case, out: Path) -> str:
    """Markdown of every row."""
    named = "" if case is CASES["cifar10"] else " --case fashion-mnist"
    about = " ".join((__doc__ or "").split("\n\n")[1].split())
    heads = sorted(
        rows, key=lambda name: (name not in GIVEN, name in OTHERS, "seed" not in name, name)
    )
    lines = [
        f"# Baked deletion, {case.network}, class 4",
        "",
        f"`python experiments/bake.py{named}` (JSON in `results/{out.name}`). {about}",
        "",
        f"Baked with `{rows['baked, seed 0']['settings']}`.",
        "",
        *table(rows, heads, case.budget),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
