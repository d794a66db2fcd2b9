"""What a converged linear probe reads after ESC: the limit that the README states.

All-CNN on CIFAR-10 (JPEG copy), class deer: multinomial logistic regression (scikit-learn, L-BFGS)
on standardised features of the whole training set, before and after ESC and on the network trained
without the class. Test accuracy on deer and on the rest, one seed.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import torch
from _networks import SHARED
from safetensors.torch import load_file
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import unspan
from unspan.data.loading import batches
from unspan.data.opening import open_data
from unspan.data.preprocess import Preprocess
from unspan.models import build
from unspan.run import Run
from unspan.zoo import AllCNN

FORGET = 4


def features(model: torch.nn.Module, data: object) -> tuple[torch.Tensor, torch.Tensor]:
    rows, labels = [], []
    for batch in batches(data, Run(batch_size=250)):
        rows.append(unspan.features(model, batch.inputs)[: len(batch)])
        labels.append(batch.labels)
    return torch.cat(rows), torch.cat(labels)


def probe(
    train: tuple[torch.Tensor, torch.Tensor], test: tuple[torch.Tensor, torch.Tensor]
) -> dict[str, object]:
    scaler = StandardScaler().fit(train[0].numpy())
    fitted = LogisticRegression(max_iter=2000, tol=1e-4).fit(
        scaler.transform(train[0].numpy()), train[1].numpy()
    )
    right = torch.tensor(fitted.predict(scaler.transform(test[0].numpy()))) == test[1]
    hit = right[test[1] == FORGET]
    low, high = binomtest(int(hit.sum()), len(hit)).proportion_ci(0.95)
    return {
        "forget": float(hit.float().mean()),
        "interval": [low, high],
        "n": len(hit),
        "retain": float(right[test[1] != FORGET].float().mean()),
        "iterations": int(fitted.n_iter_.max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("results/converged-probe.json"))
    warnings.simplefilter("ignore")
    out = parser.parse_args().json
    checkpoints = SHARED / "checkpoints"
    model = build(
        "python:unspan.zoo:AllCNN", weights=checkpoints / "allcnn-cifar10-original.safetensors"
    ).model
    data = open_data(
        str(SHARED / "data" / "cifar10"), transform=Preprocess.from_dict(AllCNN.preprocess)
    )
    erased = unspan.erase(model, unspan.Request.by_class(data["train"], "deer"), unspan.ESC()).model
    retrained = AllCNN()
    retrained.load_state_dict(load_file(checkpoints / "allcnn-cifar10-without-deer.safetensors"))
    result = {}
    for name, one in (
        ("original", model),
        ("ESC", erased),
        ("retrained without the class", retrained),
    ):
        result[name] = probe(features(one, data["train"]), features(one, data["test"]))
        print(name, result[name], flush=True)
    out.parent.mkdir(exist_ok=True)
    out.write_text(
        json.dumps(
            {
                "data": "CIFAR-10 (JPEG copy), All-CNN, class deer, test split, one seed",
                "command": "python experiments/converged_probe.py",
                "probe": result,
            },
            indent=1,
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
