"""The networks of the matrix: one of every family, each the smallest that the library offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from matrix import own
from matrix.tasks import CLASSES, SIZE, WORDS

OWN = Path(own.__file__)
WIDTH = 96  # features of the networks that are built from a config


@dataclass(frozen=True)
class Network:
    """How to make a network, and how a user names it.

    Attributes:
        build: makes it with random weights.
        head: name of the last layer; refitted at the end, unless empty.
        spec: value of `--model`; empty for a transformers folder.
        epochs: of the brief training; without them only the head is fitted.
        size: value of `--size`; None where the network brings its own preprocessing.
        task: `images` or `texts`.
        rank: directions that `--method esc` removes. 1.5 % of wide features need more samples than
            the tasks have.
    """

    build: Callable[[], nn.Module]
    head: str
    spec: str = ""
    epochs: int = 3
    size: int | None = None
    task: str = "images"
    rank: int = 1

    @property
    def runs_code(self) -> bool:
        """Whether `--model` names the user's own Python file."""
        return self.spec.startswith("python:")


def _torchvision(name: str, head: str, epochs: int = 3) -> Network:
    def build() -> nn.Module:
        import torchvision

        return torchvision.models.get_model(name, num_classes=len(CLASSES))

    return Network(build, head, f"torchvision:{name}", epochs, size=SIZE)


def _timm(name: str, head: str, epochs: int = 3, size: int | None = SIZE) -> Network:
    def build() -> nn.Module:
        import timm

        return timm.create_model(name, num_classes=len(CLASSES))

    return Network(build, head, f"timm:{name}", epochs, size)


def _own(name: str, head: str, epochs: int = 6) -> Network:
    return Network(getattr(own, name), head, f"python:{OWN}:{name}", epochs)


def _labels() -> dict[str, object]:
    names = dict(enumerate(CLASSES))
    return {"id2label": names, "label2id": {name: label for label, name in names.items()}}


def _resnet() -> nn.Module:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        **_labels(),
        layer_type="basic",
        embedding_size=24,
        hidden_sizes=[24, 48, WIDTH],
        depths=[1, 1, 1],
    )
    return ResNetForImageClassification(config)


def _vit() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        **_labels(),
        image_size=SIZE,
        patch_size=8,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=2 * WIDTH,
    )
    return ViTForImageClassification(config)


def _bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        **_labels(),
        vocab_size=len(WORDS) + 4,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=2 * WIDTH,
        max_position_embeddings=32,
    )
    return BertForSequenceClassification(config)


def _gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2ForSequenceClassification

    config = GPT2Config(
        **_labels(),
        vocab_size=len(WORDS) + 4,
        n_embd=WIDTH,
        n_layer=2,
        n_head=4,
        n_positions=32,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return GPT2ForSequenceClassification(config)


NETWORKS: dict[str, Network] = {
    "own-cnn": _own("cnn", "fc"),
    "own-mlp": _own("mlp", "5", epochs=4),
    "transformers-resnet": Network(_resnet, "classifier.1", epochs=4),
    "transformers-vit": Network(_vit, "classifier", epochs=6),
    "transformers-bert": Network(_bert, "", epochs=12, task="texts"),
    "transformers-gpt2": Network(_gpt2, "", epochs=12, task="texts"),
    "torchvision-resnet18": _torchvision("resnet18", "fc", epochs=0),
    "torchvision-regnet": _torchvision("regnet_y_400mf", "fc"),
    "torchvision-shufflenet": _torchvision("shufflenet_v2_x0_5", "fc", epochs=6),
    "torchvision-mobilenet": _torchvision("mobilenet_v3_small", "classifier.3"),
    "torchvision-densenet": _torchvision("densenet121", "classifier", epochs=0),
    "torchvision-convnext": _torchvision("convnext_tiny", "classifier.2", epochs=0),
    "timm-resnet": _timm("test_resnet", "fc"),
    "timm-regnety": replace(_timm("regnety_002", "head.fc", epochs=5), rank=3),
    "timm-vit": _timm("test_vit", "head", epochs=6, size=None),
    "timm-swin": _own("swin", "head.fc", epochs=8),
    "timm-convnext": _timm("test_convnext", "head.fc"),
    "timm-mixer": _own("mixer", "head", epochs=4),
}


def library(name: str) -> str:
    """The package that a network needs; its name starts with it, unless it is the user's own."""
    package = name.partition("-")[0]
    return "torch" if package == "own" else package
