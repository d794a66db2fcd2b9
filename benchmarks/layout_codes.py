"""What the memory layout of a pass changes after `resample`: features in their last digits, and the
samples that a rounding carries over a jump of the map.

    python benchmarks/layout_codes.py --json results/layout-codes.json

All-CNN on the shared CIFAR-10, class 4 (deer). Features of the same images are read with contiguous
and with channels-last tensors; one map, fitted by `unspan.erase`, is applied to both. Reported are
the largest relative difference of the features, the share of test images whose mapped features
part, the accuracy of the head, and what a linear probe and the nearest neighbours read of the
class.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import TensorDataset

import unspan
from unspan.erasers import placed
from unspan.extraction import (
    arranged,
    eval_mode,
    find_feature_layer,
    head_parameters,
    read,
    relative_difference,
)
from unspan.metrics.linear import linear_probe
from unspan.metrics.neighbours import nearest
from unspan.metrics.outputs import Outputs
from unspan.zoo import AllCNN

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "experiments"))

from _networks import SHARED, data  # noqa: E402

FORGET = 4
EXAMPLE = torch.zeros(2, 3, 32, 32)
LAYOUTS = ("contiguous", "channels last")


def features(model: torch.nn.Module, x: Tensor, layout: str, batch: int = 64) -> Tensor:
    """Features `[n, d]` of images, read in one memory layout."""
    feature_layer = find_feature_layer(model, x[:2])[0]
    found = []
    with torch.no_grad(), eval_mode(model):
        for part in x.split(batch):
            if layout == "contiguous":
                found.append(read(model, feature_layer, part.contiguous())[0])
                continue
            with arranged(model, part) as inputs:
                found.append(read(model, feature_layer, inputs)[0])
    return torch.cat(found)


def outputs(deletion: unspan.Deletion, raw: Tensor, labels: Tensor) -> Outputs:
    """What the erased model gives for features of the original."""
    weight, bias = head_parameters(deletion.model, find_feature_layer(deletion.model, EXAMPLE)[0])
    mapped = placed(deletion.eraser, "last", raw)(raw)
    scores = (mapped.double() @ weight.mT + bias).float()
    return Outputs(features=mapped, logits=scores, labels=labels, forget=labels == FORGET)


def attacked(train: Outputs, test: Outputs) -> dict[str, Any]:
    """Accuracy of the head, and what two attackers read of the class with 95 % intervals."""
    hit = test.logits.argmax(1) == test.labels
    found: dict[str, Any] = {
        "head, forget": float(hit[test.forget].float().mean()),
        "head, retain": float(hit[~test.forget].float().mean()),
    }
    for one in (linear_probe(train, test), *nearest(train, test, ks=(5,))):
        found[f"{one.attack} ({one.unit})"] = [one.value, *one.interval()]
    return found


def main() -> None:
    """Read, fit, compare, print; write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=10_000, help="training images")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = AllCNN()
    model.load_state_dict(load_file(SHARED / "checkpoints/allcnn-cifar10-original.safetensors"))
    parts = data("cifar10")
    order = torch.randperm(len(parts["train"][0]), generator=torch.Generator().manual_seed(0))
    x, y = (one[order[: given.n]] for one in parts["train"])
    test_x, test_y = parts["test"]
    splits = unspan.Request.by_class(TensorDataset(x, y), FORGET)
    deletion = unspan.erase(model.eval(), splits, key=bytes(16))
    raw = {layout: features(model, test_x, layout) for layout in LAYOUTS}
    made = {layout: outputs(deletion, raw[layout], test_y) for layout in LAYOUTS}
    plain, last = (made[layout] for layout in LAYOUTS)
    scale = plain.features.abs().max()
    parted = ((plain.features - last.features).abs().amax(1) > 1e-3 * scale).double()
    found = {
        "images": {"train": given.n, "test": len(test_x)},
        "features, relative difference": relative_difference(*raw.values()),
        "parted, forget": float(parted[plain.forget].mean()),
        "parted, retain": float(parted[~plain.forget].mean()),
    }
    for layout in LAYOUTS:
        train = outputs(deletion, features(model, x, layout), y)
        found[layout] = attacked(train, made[layout])
    print(json.dumps(found, indent=1))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
