"""The README's command line on a transformers ResNet-18, a timm ViT-tiny and a torchvision
model.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from transformers import ResNetConfig, ResNetForImageClassification

import unspan


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images: 3 classes, 24 each, told apart by colour."""
    root = tmp_path_factory.mktemp("photos")
    generator = torch.Generator().manual_seed(0)
    for number, name in enumerate(["cat", "dog", "fox"]):
        (root / name).mkdir()
        for i in range(24):
            pixels = torch.randint(0, 60, (48, 48, 3), generator=generator)
            pixels[..., number] += 150
            Image.fromarray(pixels.to(torch.uint8).numpy()).save(root / name / f"{i}.png")
    return root


def run(*args: object) -> str:
    command = [sys.executable, "-m", "unspan", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", ["transformers", "timm", "torchvision"])
def test_one_command_line(kind: str, photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    if kind == "transformers":
        model = ResNetForImageClassification(
            ResNetConfig(
                num_labels=3,
                layer_type="basic",
                depths=[2, 2, 2, 2],
                hidden_sizes=[64, 128, 256, 512],
                embedding_size=64,
            )
        )
        model.save_pretrained(tmp_path / "model")
        config = {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": 64, "width": 64},
            "do_normalize": True,
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "resample": 2,
        }
        (tmp_path / "model" / "preprocessor_config.json").write_text(json.dumps(config))
        chosen = ["--model", f"transformers:{tmp_path / 'model'}"]
    else:
        name = "vit_tiny_patch16_224" if kind == "timm" else "resnet18"
        make = timm.create_model if kind == "timm" else torchvision.models.get_model
        save_file(make(name, num_classes=3).state_dict(), tmp_path / "w.safetensors")
        chosen = ["--model", f"{kind}:{name}", "--weights", tmp_path / "w.safetensors"]
    out = tmp_path / "erased"
    receipt = json.loads(
        run(
            "erase",
            *chosen,
            "--data",
            photos,
            "--forget",
            "cat",
            "--out",
            out,
            "--rank",
            1,
            "--no-check-labels",
            "--json",
            "-q",
        )
    )
    assert receipt["request"]["selector"] == ["cat"] and receipt["request"]["samples_read"] == 24
    assert "erased" in receipt["access_paths"].values()
    assert isinstance(unspan.load(out), torch.nn.Module)
    assert (
        "weights file is the one"
        in subprocess.run(
            [sys.executable, "-m", "unspan", "inspect", str(out)], capture_output=True, text=True
        ).stderr
    )
