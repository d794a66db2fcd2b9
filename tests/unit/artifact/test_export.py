"""Exported files compute what the model computes, hooks included, for any batch size; nothing else
is left behind.
"""

import builtins
import logging
import warnings
from pathlib import Path
from typing import get_type_hints

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    ViTConfig,
    ViTForImageClassification,
)

from unspan.artifact.export_formats import FORMATS
from unspan.artifact.exporter import export
from unspan.cli.export import export as export_command
from unspan.erasers import Projection
from unspan.errors import ModelError, OutputError, UsageError
from unspan.extraction import attach, find_feature_layer


def small_cnn() -> nn.Module:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    ]
    return nn.Sequential(*layers).eval()


def erased_cnn(images: torch.Tensor) -> nn.Module:
    """The network with an eraser at its features, which a forward hook calls as a child of the
    hooked module.
    """
    model = small_cnn()
    basis = torch.linalg.qr(torch.randn(8, 3)).Q
    attach(model, find_feature_layer(model, images)[0], Projection(basis))
    return model


def run_file(path, images: torch.Tensor) -> torch.Tensor:
    if path.suffix == ".pt2":
        return torch.export.load(path).module()(images)
    session = onnxruntime.InferenceSession(str(path))
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: images.numpy()})[0])


@pytest.mark.parametrize("format", FORMATS)
def test_the_file_carries_the_eraser_of_a_hook(tmp_path, format):
    images = torch.randn(4, 3, 8, 8)
    erased, plain = erased_cnn(images), small_cnn()
    path = tmp_path / f"model.{format}"
    difference = export(erased, images, path, format=format)
    fresh = torch.randn(7, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(run_file(path, fresh), erased(fresh), atol=1e-5, rtol=1e-4)
        assert (run_file(path, fresh) - plain(fresh)).abs().max() > 1e-2
    assert 0 <= difference < 1e-5
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("format", FORMATS)
def test_one_example_is_enough_for_any_batch_size(tmp_path, format):
    path = tmp_path / f"model.{format}"
    export(small_cnn(), torch.randn(1, 3, 8, 8), path, format=format)
    assert run_file(path, torch.randn(5, 3, 8, 8)).shape == (5, 4)


@pytest.mark.parametrize("format", FORMATS)
def test_text_classifiers_take_keyword_arguments(tmp_path, format):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=3,
    )
    model = BertForSequenceClassification(config).eval()
    inputs = {
        "input_ids": torch.randint(0, 50, (2, 6)),
        "attention_mask": torch.tensor([[1] * 6, [1] * 4 + [0] * 2]),
    }
    assert export(model, inputs, tmp_path / "model", format=format) < 1e-5


def test_image_transformers_export_their_logits(tmp_path):
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=16,
        patch_size=8,
        num_labels=4,
    )
    model = ViTForImageClassification(config).eval()
    images = torch.randn(2, 3, 16, 16)
    path = tmp_path / "vit.onnx"
    export(model, {"pixel_values": images}, path, format="onnx")
    np.testing.assert_allclose(run_file(path, images), model(images).logits.detach(), atol=1e-5)


class Unfaithful(nn.Module):
    """Computes one thing when traced and another when run."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x):
        return self.linear(x) + (1.0 if torch.compiler.is_exporting() else 0.0)


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_differs_is_refused_and_the_old_one_stays(tmp_path, format):
    path = tmp_path / f"model.{format}"
    export(nn.Linear(4, 2), torch.randn(2, 4), path, format=format)
    old = path.read_bytes()
    with pytest.raises(ModelError, match="differs from the model by"):
        export(Unfaithful(), torch.randn(2, 4), path, format=format)
    assert path.read_bytes() == old
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


class UnfaithfulToThree(nn.Module):
    """Computes something else, when traced, for more than two samples."""

    def forward(self, x):
        position = torch.ones_like(x[:, :1]).cumsum(0)
        return x * 2 + (position.gt(2).float() if torch.compiler.is_exporting() else 0.0)


@pytest.mark.parametrize("format", FORMATS)
def test_other_batch_sizes_than_the_given_one_are_compared(tmp_path, format):
    with pytest.raises(ModelError, match="differs from the model by"):
        export(UnfaithfulToThree(), torch.randn(2, 4), tmp_path / "model", format=format)
    assert list(tmp_path.iterdir()) == []


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize("format", FORMATS)
def test_an_untraceable_model_is_named(tmp_path, format):
    with pytest.raises(ModelError, match=f"Branching cannot be exported as {format}: "):
        export(Branching(), torch.randn(2, 4), tmp_path / "model", format=format)


def test_nan_outputs_are_refused(tmp_path):
    model = nn.Linear(4, 2)
    nn.init.constant_(model.bias, float("nan"))
    with pytest.raises(ModelError, match="differs"):
        export(model, torch.randn(2, 4), tmp_path / "model.pt2", format="pt2")


def test_training_mode_is_left_as_it_was_and_dropout_is_off(tmp_path):
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2)).train()
    model[0].eval()
    export(model, torch.randn(2, 4), tmp_path / "model.pt2", format="pt2")
    assert [module.training for module in model] == [False, True, True]


def test_exporters_are_silent_and_logging_is_restored(tmp_path, capfd):
    disabled = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export(small_cnn(), torch.randn(2, 3, 8, 8), tmp_path / "model.onnx", format="onnx")
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == disabled


def test_missing_packages_are_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def without_onnxscript(name, *args, **kwargs):
        if name == "onnxscript":
            raise ModuleNotFoundError("No module named 'onnxscript'", name="onnxscript")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_onnxscript)
    with pytest.raises(
        UsageError, match=r"onnxscript is not installed: pip install 'unspan\[onnx\]'"
    ):
        export(small_cnn(), torch.randn(2, 3, 8, 8), tmp_path / "model.onnx", format="onnx")


def test_impossible_targets_are_refused(tmp_path, monkeypatch):
    images = torch.randn(2, 3, 8, 8)
    with pytest.raises(UsageError, match="onnx, pt2"):
        export(small_cnn(), images, tmp_path / "model", format="torchscript")
    with pytest.raises(OutputError, match="does not exist"):
        export(small_cnn(), images, tmp_path / "absent" / "model.pt2", format="pt2")
    monkeypatch.setattr("unspan.artifact.export_formats.ONNX_LIMIT", 100)
    with pytest.raises(UsageError, match="pt2"):
        export(small_cnn(), images, tmp_path / "model.onnx", format="onnx")


@pytest.mark.parametrize("name", ["erased", "erased.pth", "onnx", ".onnx"])
def test_the_ending_of_the_file_name_must_be_a_format(tmp_path, name):
    with pytest.raises(UsageError, match=r"must end in \.onnx or \.pt2"):
        export_command(tmp_path / "folder", out=Path(name))


@pytest.mark.parametrize("format", FORMATS)
def test_only_a_file_of_the_same_format_with_the_mark_is_replaced(tmp_path, format):
    one, made = FORMATS[format], {}
    for name in FORMATS:
        made[name] = tmp_path / f"model.{name}"
        export(small_cnn(), torch.randn(2, 3, 8, 8), made[name], format=name)
    assert {name: one.is_marked(file) for name, file in made.items()} == {
        name: name == format for name in FORMATS
    }
    for content in (b"", b"text", b"PK\x03\x04"):
        (tmp_path / "other").write_bytes(content)
        assert not one.is_marked(tmp_path / "other")


def test_the_help_of_the_command_names_every_format():
    out = get_type_hints(export_command, include_extras=True)["out"].__metadata__[0]
    assert all(f"NAME.{name}" in out.help for name in FORMATS)
