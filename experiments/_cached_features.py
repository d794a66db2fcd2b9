"""Features of the CIFAR-10 All-CNN, read once and kept, with its head."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from _cifar10 import DEER, SHARED, outputs, tensors
from safetensors.torch import load_file, save_file
from torch import Tensor

from unspan.data.preprocess import Preprocess
from unspan.erasers import Eraser
from unspan.metrics.outputs import Outputs
from unspan.zoo import AllCNN

CACHE = Path("build/features")
ORIGINAL = "allcnn-cifar10-original"


@dataclass(frozen=True)
class Cached:
    """All training and test samples as one network reads them.

    Attributes:
        fit: outputs on the 50,000 training samples.
        test: on the 10,000 test samples.
        weight: `[C, d]` of the network's head.
        bias: `[C]`.
    """

    fit: Outputs
    test: Outputs
    weight: Tensor
    bias: Tensor

    def erased(self, eraser: Eraser) -> tuple[Outputs, Outputs]:
        """Outputs of the same network with an eraser before its head."""
        return self._through(self.fit, eraser), self._through(self.test, eraser)

    def _through(self, part: Outputs, eraser: Eraser) -> Outputs:
        features = eraser(part.features)
        logits = torch.addmm(self.bias, features, self.weight.mT)
        return Outputs(features=features, logits=logits, labels=part.labels, forget=part.forget)


def cached(name: str = ORIGINAL, folder: Path = CACHE) -> Cached:
    """Features of a network of the shared checkpoints; computed where they are not kept yet.

    Args:
        name: of the checkpoint.
        folder: where they are kept.
    """
    state = load_file(SHARED / "checkpoints" / f"{name}.safetensors")
    file = folder / f"{name}.safetensors"
    if not file.exists():
        model = AllCNN()
        model.load_state_dict(state)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(_read(model), file.with_suffix(".part"))
        file.with_suffix(".part").replace(file)
    kept = load_file(file)
    parts = [
        Outputs(
            features=kept[f"{split} features"],
            logits=kept[f"{split} logits"],
            labels=kept[f"{split} labels"],
            forget=kept[f"{split} labels"] == DEER,
        )
        for split in ("train", "test")
    ]
    return Cached(parts[0], parts[1], state["head.weight"], state["head.bias"])


def _read(model: AllCNN) -> dict[str, Tensor]:
    preprocess = Preprocess.from_dict(AllCNN.preprocess)
    found = {}
    for split in ("train", "test"):
        x, y = tensors(split, preprocess).tensors
        read = outputs(model, x, y)
        assert read.logits is not None
        found[f"{split} features"] = read.features.contiguous()
        found[f"{split} logits"] = read.logits.contiguous()
        found[f"{split} labels"] = read.labels
    return found


def accuracies(logits: Tensor, part: Outputs) -> tuple[float, float]:
    """Percent of the forget and of the retained samples that are named right."""
    right = (logits.argmax(1) == part.labels).double()
    return 100 * float(right[part.forget].mean()), 100 * float(right[~part.forget].mean())
