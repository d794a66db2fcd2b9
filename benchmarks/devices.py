"""Do the processor and a CUDA device agree: one request on both, compared feature by feature.

    python benchmarks/devices.py --device cuda --json results/devices.json

All-CNN on the shared CIFAR-10, class 4 (deer), for methods that fit a map of the features. For
each method: the largest relative difference of the erased models' features on the test images, the
share of images whose predicted class differs, the accuracies on both devices, and the seconds. The
original model's difference between the devices stands beside them: no erased model can agree
better than the network that it came from. A deletion made on the device is saved there and loaded
on the processor.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import unspan
from unspan import methods
from unspan.extraction import find_feature_layer, read, relative_difference
from unspan.zoo import AllCNN

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "experiments"))

from _networks import SHARED, data  # noqa: E402

FORGET = 4
METHODS = {
    "resample": None,
    "esc": methods.ESC(rank=1),
    "esc-t": methods.ESCT(lr=0.3),
    "leace": methods.LEACE(),
}


def answers(model: nn.Module, x: Tensor, device: str) -> tuple[Tensor, Tensor]:
    """Features `[n, d]` and predicted classes `[n]` of images, computed on one device."""
    model = model.to(device).eval()
    layer = find_feature_layer(model, x[:2].to(device))[0]
    features, classes = [], []
    with torch.no_grad():
        for part in x.split(250):
            found, out = read(model, layer, part.to(device))[:2]
            features.append(found.cpu())
            classes.append(out.argmax(1).cpu())
    return torch.cat(features), torch.cat(classes)


def accuracies(classes: Tensor, labels: Tensor) -> dict[str, float]:
    """Share of right answers for the forgotten class and for the others."""
    hit, forget = (classes == labels).double(), labels == FORGET
    return {"forget": float(hit[forget].mean()), "retain": float(hit[~forget].mean())}


def erased(model: nn.Module, request, method, device: str) -> tuple[unspan.Deletion, float]:
    """The deletion made on one device, and the seconds it took."""
    begun = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        deletion = unspan.erase(
            copy.deepcopy(model), request, method, unspan.Run(device=device), key=bytes(16)
        )
    return deletion, time.perf_counter() - begun


def loads_on_processor(deletion: unspan.Deletion, x: Tensor, before: Tensor) -> float:
    """Relative difference of features after saving on the device and loading on the processor."""
    with tempfile.TemporaryDirectory() as folder:
        loaded = unspan.load(deletion.save(Path(folder) / "erased"), model=AllCNN())
    return relative_difference(answers(loaded, x, "cpu")[0], before)


def compared(model: nn.Module, request, test: tuple[Tensor, Tensor], device: str) -> dict[str, Any]:
    """Every method on both devices."""
    x, y = test
    plain = {one: answers(copy.deepcopy(model), x, one) for one in ("cpu", device)}
    found: dict[str, Any] = {
        "original": {
            "features": relative_difference(plain["cpu"][0], plain[device][0]),
            "classes differ": float((plain["cpu"][1] != plain[device][1]).double().mean()),
        }
    }
    for name, method in METHODS.items():
        made = {one: erased(model, request, method, one) for one in ("cpu", device)}
        given = {one: answers(made[one][0].model, x, one) for one in made}
        found[name] = {
            "features": relative_difference(given["cpu"][0], given[device][0]),
            "classes differ": float((given["cpu"][1] != given[device][1]).double().mean()),
            "accuracy": {one: accuracies(given[one][1], y) for one in given},
            "seconds": {one: round(made[one][1], 2) for one in made},
            "status": {one: str(made[one][0].receipt["status"]) for one in made},
        }
        print(name, json.dumps(found[name]), flush=True)
        if name == "resample":
            kept = made[device][0]
            found[name]["saved there, loaded here"] = loads_on_processor(kept, x, given[device][0])
    return found


def main() -> None:
    """Read, erase on both, compare, print; write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--n", type=int, default=10_000, help="training images")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    model = AllCNN()
    model.load_state_dict(load_file(SHARED / "checkpoints/allcnn-cifar10-original.safetensors"))
    parts = data("cifar10")
    order = torch.randperm(len(parts["train"][0]), generator=torch.Generator().manual_seed(0))
    x, y = (one[order[: given.n]] for one in parts["train"])
    request = unspan.Request.by_class(TensorDataset(x, y), FORGET)
    found = {
        "images": {"train": given.n, "test": len(parts["test"][0])},
        "device": torch.cuda.get_device_name() if given.device == "cuda" else given.device,
        "torch": torch.__version__,
        **compared(model.eval(), request, parts["test"], given.device),
    }
    print(json.dumps(found, indent=1))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
