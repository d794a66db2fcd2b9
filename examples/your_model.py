"""Handwritten digits as a folder of images, and a ResNet-18 of torchvision, timm and transformers
trained on them: what the section "On your model" of the README erases a class from.

`python -m examples.your_model torchvision timm transformers` writes `build/digits/` and what each
library's users have: a file of weights, or a folder.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_model
from sklearn.datasets import load_digits
from torch import Tensor, nn

ROOT = Path("build")
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # the default of all three libraries
SIZE = 32  # pixels


def write_images(root: Path) -> None:
    """Write `train/` and `test/` with a folder for each class; every fifth image is for test."""
    digits = load_digits()
    for number, (pixels, target) in enumerate(zip(digits.images, digits.target, strict=True)):
        split = "train" if number % 5 else "test"
        folder = root / split / f"{target}-{NAMES[target]}"
        folder.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray((pixels * 255 / 16).astype(np.uint8)).convert("RGB")
        picture.resize((SIZE, SIZE)).save(folder / f"{number:04}.png")


def read_images(root: Path) -> tuple[Tensor, Tensor]:
    """The images `[n, 3, 32, 32]` of a split, normalised, and their labels `[n]`."""
    files = sorted(root.glob("*/*.png"))
    pixels = torch.from_numpy(np.stack([np.asarray(Image.open(file)) for file in files]))
    images = pixels.permute(0, 3, 1, 2) / 255
    labels = torch.tensor([int(file.parent.name[0]) for file in files])
    return (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1), labels


def of_torchvision() -> nn.Module:
    """The architecture, without weights."""
    from torchvision.models import resnet18

    return resnet18(num_classes=len(NAMES))


def of_timm() -> nn.Module:
    """The architecture, without weights."""
    from timm import create_model

    return create_model("resnet18", num_classes=len(NAMES))


def of_transformers() -> nn.Module:
    """The architecture, without weights."""
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        layer_type="basic",
        depths=[2, 2, 2, 2],
        hidden_sizes=[64, 128, 256, 512],
        num_labels=len(NAMES),
        id2label={at: f"{at}-{name}" for at, name in enumerate(NAMES)},
    )
    return ResNetForImageClassification(config)


def train(model: nn.Module, images: Tensor, labels: Tensor, epochs: int) -> None:
    """Train, and leave the model in eval mode."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(64):
            optimiser.zero_grad()
            output = model(images[batch])
            scores = output if isinstance(output, Tensor) else output.logits
            nn.functional.cross_entropy(scores, labels[batch]).backward()
            optimiser.step()
    model.eval()


def write_model(library: str, model: nn.Module, root: Path) -> None:
    """Write what users of the library have."""
    if library != "transformers":
        save_model(model, str(root / f"{library}-resnet18.safetensors"))
        return
    folder = root / "transformers-resnet18"
    model.save_pretrained(folder)
    preprocessing = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": SIZE, "width": SIZE},
        "image_mean": MEAN,
        "image_std": STD,
        "rescale_factor": 1 / 255,
        "resample": 2,
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing, indent=2))


BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "torchvision": of_torchvision,
    "timm": of_timm,
    "transformers": of_transformers,
}


def main(libraries: list[str], epochs: int = 4) -> None:
    """Write the images once, then a model for each library; a few minutes each."""
    if not (ROOT / "digits").is_dir():
        write_images(ROOT / "digits")
    images, labels = read_images(ROOT / "digits" / "train")
    for library in libraries or list(BUILDERS):
        torch.manual_seed(0)
        model = BUILDERS[library]()
        train(model, images, labels, epochs)
        write_model(library, model, ROOT)


if __name__ == "__main__":
    main(sys.argv[1:])
