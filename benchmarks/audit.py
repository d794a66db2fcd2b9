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
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from unspan.artifact.receipt import versions
from unspan.data.loading import batches
from unspan.data.opening import open_data
from unspan.data.preprocess import Preprocess
from unspan.metrics.linear import fit_linear
from unspan.metrics.outputs import Outputs
from unspan.metrics.retention import BATCH, EPOCHS, RATE, published_head, published_probe
from unspan.models import build
from unspan.run import Run
from unspan.zoo import AllCNN

SHARED = Path(os.environ.get("UNSPAN_SHARED", Path(__file__).resolve().parents[2] / "shared"))
DEER, CLASSES, C = 4, 10, 1.0


def cifar(train: int, test: int) -> tuple[nn.Module, dict[str, tuple[torch.Tensor, torch.Tensor]]]:
    """The trained network, and the first images of both splits in memory, so that decoding is not
    timed.
    """
    model = build(
        "python:unspan.zoo:AllCNN",
        weights=SHARED / "checkpoints/allcnn-cifar10-original.safetensors",
    ).model
    data, out = (
        open_data(str(SHARED / "data/cifar10"), transform=Preprocess.from_dict(AllCNN.preprocess)),
        {},
    )
    for split, n in (("train", train), ("test", test)):
        parts, seen = [], 0
        for batch in batches(data[split], Run(batch_size=250)):
            parts.append((batch.inputs, batch.labels))
            seen += len(batch)
            if seen >= n:
                break
        out[split] = tuple(torch.cat(part)[:n] for part in zip(*parts, strict=True))
    return model.eval(), out


def body(model: nn.Module, basis: torch.Tensor | None):
    """The frozen feature extractor, with the projection of ESC when there is one: one bare forward
    pass a call.
    """
    kept: list[torch.Tensor] = []
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    head.register_forward_pre_hook(lambda _m, args: kept.append(args[0]))

    def run(x: torch.Tensor) -> torch.Tensor:
        kept.clear()
        with torch.no_grad():
            model(x)
            z = kept[0]
            return z if basis is None else z - z @ basis @ basis.mT

    return run


def read(run, x: torch.Tensor, size: int = 250) -> torch.Tensor:
    return torch.cat([run(part) for part in x.split(size)])


def published(run, train, test, seed: int, epochs: int) -> tuple[torch.Tensor, dict[str, float]]:
    """As released: autograd on a fresh head, features anew in every batch; then one pass for each
    accuracy.
    """
    head, seconds = nn.Linear(run(train[0][:1]).shape[1], CLASSES), {}
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.copy_(
            torch.randn(head.weight.shape, generator=generator)
            * (2 / sum(head.weight.shape)) ** 0.5
        )
        head.bias.zero_()
    sgd, begun = torch.optim.SGD(head.parameters(), lr=RATE), time.perf_counter()
    for _ in range(epochs):
        for rows in torch.randperm(len(train[1]), generator=generator).split(BATCH):
            sgd.zero_grad()
            nn.functional.cross_entropy(head(run(train[0][rows])), train[1][rows]).backward()
            sgd.step()
    seconds["train"] = time.perf_counter() - begun
    with torch.no_grad():
        head(read(run, train[0], BATCH))
        hit = head(read(run, test[0], BATCH)).argmax(1) == test[1]
    seconds["all"] = time.perf_counter() - begun
    return hit, seconds


def cached(run, train, test, seed: int) -> tuple[torch.Tensor, dict[str, float]]:
    """One pass over both splits, then the probe and its accuracies on the cached features."""
    begun = time.perf_counter()
    fit, held = (
        Outputs(features=read(run, x, BATCH), logits=None, labels=y, forget=y == DEER)
        for x, y in (train, test)
    )
    middle = time.perf_counter()
    published_probe(fit, held, seed)
    seconds = {"all": time.perf_counter() - begun, "probe": time.perf_counter() - middle}
    weight, bias = published_head(fit.features, fit.labels, CLASSES, seed)
    return (held.features @ weight.mT + bias).argmax(1) == held.labels, seconds


def kr(args: argparse.Namespace, before: dict) -> dict:
    """Rows of the models asked for, beside those of another model measured before with the same
    numbers of images.
    """
    model, data = cifar(args.n, args.test)
    x, y = data["train"]
    z = read(body(model, None), x[y == DEER])
    basis = torch.linalg.svd(z.double(), full_matrices=False)[2][:1].mT.float()
    same = (before.get("train"), before.get("test")) == (args.n, args.test)
    rows = [row for row in before.get("rows", []) if same and row["model"] not in args.models]
    for name, directions in (("original", None), ("ESC", basis)):
        if name not in args.models:
            continue
        run = body(model, directions)
        for seed in range(args.seeds):
            ours, ours_s = cached(run, data["train"], data["test"], seed)
            theirs, theirs_s = published(run, data["train"], data["test"], seed, EPOCHS)
            deer = data["test"][1] == DEER
            row = {
                "model": name,
                "seed": seed,
                "published_seconds": theirs_s,
                "cached_seconds": ours_s,
            }
            row |= {
                "ratio": theirs_s["all"] / ours_s["all"],
                "ratio_features_shared": theirs_s["all"] / ours_s["probe"],
            }
            for key, mask in (("forget", deer), ("retain", ~deer)):
                row[key] = {
                    "cached": float(ours[mask].double().mean()),
                    "published": float(theirs[mask].double().mean()),
                }
            row["points"] = 100 * max(
                abs(row[key]["cached"] - row[key]["published"]) for key in ("forget", "retain")
            )
            rows.append(row)
            print(json.dumps(row), flush=True)
    means = {}
    for name in sorted({row["model"] for row in rows}):
        mine = [row for row in rows if row["model"] == name]
        means[name] = {
            key: 100 * abs(float(np.mean([r[key]["cached"] - r[key]["published"] for r in mine])))
            for key in ("forget", "retain")
        }
    return {
        "train": args.n,
        "test": args.test,
        "rows": rows,
        "ratio": float(np.median([r["ratio"] for r in rows])),
        "ratio_features_shared": float(np.median([r["ratio_features_shared"] for r in rows])),
        "points_worst": max(row["points"] for row in rows),
        "points_of_means": means,
        "augmentation": (
            "none on either side: evaluation transforms, so that only the caching differs"
        ),
    }


def synthetic(n: int, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Overlapping Gaussian classes in correlated features with an offset."""
    g = torch.Generator().manual_seed(0)
    y = torch.randint(CLASSES, (n,), generator=g)
    mix = torch.linalg.qr(torch.randn(d, d, generator=g))[0] * torch.logspace(0, -1.5, d)[:, None]
    centres = 0.25 * torch.randn(CLASSES, d, generator=g) * (torch.arange(d) < 60)
    return (torch.randn(n, d, generator=g) + centres[y]) @ mix + 1, y


def loss(coef: np.ndarray, bias: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    score = (
        torch.from_numpy(x).double() @ torch.from_numpy(coef).double().T
        + torch.from_numpy(bias).double()
    )
    own = score.gather(1, torch.from_numpy(y)[:, None])[:, 0]
    return float((score.logsumexp(1) - own).mean()) + float((coef.astype(float) ** 2).sum()) / (
        2 * C * len(y)
    )


def race(name: str, x: torch.Tensor, y: torch.Tensor, budget: float) -> dict:
    """Seconds until the objective is within 1e-6 of the optimum, standardisation included on both
    sides.
    """
    best = fit_linear(x, y, CLASSES, c=(C,), tolerance=1e-8)
    out: dict = {
        "n": len(x),
        "d": x.shape[1],
        "C": C,
        "optimum": best.objective,
        "optimum_gradient": best.gradient,
        "ours": [],
        "scikit-learn": [],
    }
    for tolerance in (1e-4, 1e-5, 1e-6):
        begun = time.perf_counter()
        one = fit_linear(x, y, CLASSES, c=(C,), tolerance=tolerance)
        row = {
            "tolerance": tolerance,
            "seconds": time.perf_counter() - begun,
            "gradient": one.gradient,
            "iterations": one.iterations,
            "excess": one.objective / best.objective - 1,
        }
        out["ours"].append(row)
        print(name, "ours", row, flush=True)
    for tol in (1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 1e-7):
        begun, cpu = time.perf_counter(), x.numpy()
        mean, scale = cpu.mean(0, dtype=np.float64), cpu.std(0, dtype=np.float64)
        z = ((cpu - mean) / np.where(scale > 0, scale, 1)).astype(
            np.float32 if tol > 1e-6 else np.float64
        )
        found = LogisticRegression(C=C, tol=tol, max_iter=20000).fit(z, y.numpy())
        seconds = time.perf_counter() - begun
        row = {
            "tol": tol,
            "dtype": str(z.dtype),
            "seconds": seconds,
            "iterations": int(found.n_iter_[0]),
            "excess": loss(found.coef_, found.intercept_, z, y.numpy()) / best.objective - 1,
        }
        out["scikit-learn"].append(row)
        print(name, "scikit-learn", row, flush=True)
        if row["excess"] <= 1e-6 or seconds > budget:
            break
    reached = {
        side: [row["seconds"] for row in out[side] if row["excess"] <= 1e-6]
        for side in ("ours", "scikit-learn")
    }
    ours, theirs = (min(reached[side], default=None) for side in ("ours", "scikit-learn"))
    out |= {
        "seconds_to_1e-6": {"ours": ours, "scikit-learn": theirs},
        "speedup": theirs / ours if ours and theirs else None,
    }
    if theirs is None:
        out["speedup_at_least"] = (
            max(row["seconds"] for row in out["scikit-learn"]) / ours if ours else None
        )
    return out


def main() -> None:
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
    torch.set_num_threads(args.threads)
    args.test = args.test or args.n // 5
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
