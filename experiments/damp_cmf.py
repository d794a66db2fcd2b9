"""What do converged probes read after DAMP, and does CMF's probe stop before it is done?

Digits of scikit-learn, a 64-64 ReLU network, one seed; each class is erased once. Accuracy on test
images of the erased class, mean over the ten classes.

DAMP: the network's own head and a converged linear probe on what the head is given and on what the
edited head still reads of it. With full strength at the last stage, and with the default settings.
On two networks of that shape, since the effect hangs on the training: one by this script, and one
by scikit-learn's `MLPClassifier`.

CMF: its probe (SGD 0.01, momentum 0.9, no decay, 20 epochs) and a converged one, on features of
length 1 around their mean, on the raw features, and on raw features that are ten times as large.
First of the original, where nothing is erased, then after CMF.

    python experiments/damp_cmf.py               # both; --only DAMP for one part of the results
"""

from __future__ import annotations

import argparse
import json
import statistics
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import unspan
from unspan.erasers import UnitCentring
from unspan.methods import CMF, DAMP, RandomLabels, Scrub
from unspan.methods.base import Method
from unspan.metrics.linear import fit_linear
from unspan.training.settings import Training

CLASSES = 10
EPOCHS = 60
Part = tuple[Tensor, Tensor]
Row = dict[str, str | float]


def digits() -> tuple[Part, Part]:
    """Inputs and labels, two thirds to train on."""
    raw = load_digits()
    x = torch.tensor(raw.data, dtype=torch.float32) / 16
    y = torch.tensor(raw.target)
    held = torch.arange(len(x)) % 3 == 0
    return (x[~held], y[~held]), (x[held], y[held])


def network(train: Part) -> nn.Sequential:
    """64 inputs, two hidden layers of 64, ten classes."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, CLASSES)
    )
    adam = torch.optim.Adam(net.parameters(), lr=3e-3)
    x, y = train
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(64):
            adam.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            adam.step()
    return net.eval()


def by_scikit_learn(train: Part) -> nn.Sequential:
    """The same layers with the weights that scikit-learn finds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = MLPClassifier((64, 64), max_iter=300, random_state=0).fit(*train)
    net = nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, CLASSES)
    )
    layers = [one for one in net if isinstance(one, nn.Linear)]
    with torch.no_grad():
        for layer, weight, bias in zip(layers, fitted.coefs_, fitted.intercepts_, strict=True):
            layer.weight.copy_(torch.tensor(weight).mT)
            layer.bias.copy_(torch.tensor(bias))
    return net.eval()


@torch.no_grad()
def hidden(net: nn.Module, x: Tensor) -> Tensor:
    """Features `[n, 64]`, before any map at the head's input."""
    layers = list(net.children())[:4]
    for layer in layers:
        x = layer(x)
    return x


def accuracy(named: Tensor, y: Tensor, label: int) -> tuple[float, float]:
    """Percent of the images of a class and of all others that are named right."""
    right = (named == y).double()
    return 100 * float(right[y == label].mean()), 100 * float(right[y != label].mean())


def converged(train: Part, test: Part, label: int) -> tuple[float, float]:
    """What a linear probe reads that is trained to the end, C chosen on held-out rows."""
    probe = fit_linear(train[0], train[1], CLASSES)
    return accuracy(probe.predict(test[0]), test[1], label)


def short(train: Part, test: Part, label: int) -> tuple[float, float]:
    """What a linear probe reads that stops after 20 epochs of SGD."""
    torch.manual_seed(0)
    probe = nn.Linear(train[0].shape[1], CLASSES)
    sgd = torch.optim.SGD(probe.parameters(), lr=0.01, momentum=0.9)
    for _ in range(20):
        for rows in torch.randperm(len(train[0])).split(128):
            sgd.zero_grad()
            nn.functional.cross_entropy(probe(train[0][rows]), train[1][rows]).backward()
            sgd.step()
    return accuracy(probe(test[0]).argmax(1), test[1], label)


def erased(net: nn.Module, train: Part, label: int, method: Method) -> nn.Module:
    request = unspan.Request.by_class(TensorDataset(*train), label)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return unspan.erase(net, request, method, check_labels=False, measure=False).model


def over_classes(measure: Callable[[int], dict[str, tuple[float, float]]], name: str) -> list[Row]:
    """A row for every reading, means over the ten classes."""
    found: dict[str, list[tuple[float, float]]] = {}
    for label in range(CLASSES):
        for reading, values in measure(label).items():
            found.setdefault(reading, []).append(values)
    return [
        {
            "network": name,
            "reading": reading,
            "erased class": statistics.mean(one for one, _ in values),
            "others": statistics.mean(other for _, other in values),
        }
        for reading, values in found.items()
    ]


def damp_rows(net: nn.Sequential, train: Part, test: Part, by: str) -> list[Row]:
    """Head and probes of the original and after DAMP, of a network trained by one of two."""

    def measure(method: Method | None, label: int) -> dict[str, tuple[float, float]]:
        model = net if method is None else erased(net, train, label, method)
        weight = list(model.children())[4].weight.detach().double()
        z, held = (hidden(model, x) for x in (train[0], test[0]))
        with torch.no_grad():
            found = {"head": accuracy(model(test[0]).argmax(1), test[1], label)}
        found["converged probe"] = converged((z, train[1]), (held, test[1]), label)
        if method is not None:
            gap = list(net.children())[4].weight.detach().double() - weight
            lost = torch.linalg.svd(gap).Vh[:1].mT.float()  # one class, one direction
            left = [one - (one @ lost) @ lost.mT for one in (z, held)]
            name = "converged probe, without what the head lost"
            found[name] = converged((left[0], train[1]), (left[1], test[1]), label)
        return found

    methods = {
        "original": None,
        "DAMP, last stage, full strength": DAMP(stages=1, alpha=1.0),
        "DAMP": DAMP(),
    }
    rows = []
    for name, method in methods.items():
        read = partial(measure, method)
        rows += over_classes(read, f"{name} ({by})")
    return rows


def cmf_rows(net: nn.Sequential, train: Part, test: Part) -> list[Row]:
    """Probes that stop early and converged ones, on raw features and on directions."""

    def measure(method: Method | None, label: int) -> dict[str, tuple[float, float]]:
        model = net if method is None else erased(net, train, label, method)
        raw = [hidden(model, x) for x in (train[0], test[0])]
        mean = nn.functional.normalize(raw[0], dim=1).mean(0)
        forms = {
            "directions": [UnitCentring(mean)(one) for one in raw],
            "raw features": raw,
            "raw features, times ten": [10 * one for one in raw],
        }
        with torch.no_grad():
            found = {"head": accuracy(model(test[0]).argmax(1), test[1], label)}
        for form, (z, held) in forms.items():
            for probe, read in (("20 epochs", short), ("converged", converged)):
                if probe == "converged" and form.endswith("ten"):
                    continue  # it standardises
                found[f"{form}, probe: {probe}"] = read((z, train[1]), (held, test[1]), label)
        return found

    quick = Training(lr=2e-3, epochs=4)
    methods: dict[str, Method | None] = {
        "original": None,
        "CMF with SCRUB": CMF(),
        "SCRUB at the settings of CMF": Scrub(training=CMF().training),
        "CMF with random labels": CMF(base="random-labels", training=quick),
        "random labels at the settings of CMF": RandomLabels(use_retain=True, training=quick),
    }
    rows = []
    for name, method in methods.items():
        rows += over_classes(partial(measure, method), name)
    return rows


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    for row in rows:
        lines.append([f"{one:.1f}" if isinstance(one, float) else one for one in row.values()])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main() -> None:
    """Train, erase each class, and write `damp-cmf.json` and `damp-cmf.md`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=["DAMP", "CMF"], help="measure one part anew")
    parser.add_argument("--out", type=Path, default=Path("results"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    train, test = digits()
    net = network(train)
    file = given.out / "damp-cmf.json"
    found = json.loads(file.read_text("utf-8")) if given.only and file.exists() else {}
    if given.only != "CMF":
        found["DAMP"] = damp_rows(net, train, test, "Adam, 60 epochs")
        found["DAMP"] += damp_rows(by_scikit_learn(train), train, test, "scikit-learn")
    if given.only != "DAMP":
        found["CMF"] = cmf_rows(net, train, test)
    file.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    text = "\n".join(table(found[part]) for part in ("DAMP", "CMF") if part in found)
    (given.out / "damp-cmf.md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
