"""Each access path is found where a model has it, under the name that receipts give it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import ViTConfig, ViTForImageClassification

from unspan.erasers import Projection
from unspan.extraction import FeatureLayer, attach, find_feature_layer
from unspan.extraction.access_outcomes import compare, outcomes
from unspan.extraction.access_paths import ACCESS_PATHS, access_paths

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class LikeTimm(nn.Module):
    """The methods that models of timm have."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Conv2d(3, 8, 3)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head: nn.Module = nn.Linear(8, 4)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.body(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        pooled = self.pool(x).flatten(1)
        return pooled if pre_logits else self.head(pooled)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def reset_classifier(self, _classes: int) -> None:
        self.head = nn.Identity()


def like_transformers() -> nn.Module:
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        image_size=16,
        patch_size=8,
        num_labels=4,
    )
    return ViTForImageClassification(config).eval()


class Embedding(nn.Sequential):
    """A network without a head."""


HEADLESS = "replace the head ({}) by nn.Identity()"
HOOKED = "forward hook on the layer before the head ({})"
EXPECTED = {
    "timm": {
        HEADLESS.format("head"),
        HOOKED.format("pool"),
        "forward_features(x)",
        "forward_head(forward_features(x), pre_logits=True)",
        "reset_classifier(0)",
    },
    "transformers": {
        HEADLESS.format("classifier"),
        HOOKED.format("vit.layernorm"),
        "output_hidden_states=True, hidden_states[-1]",
        "base_model(...).last_hidden_state",
        "base_model(...).pooler_output",
    },
    "embedding": {"model output"},
}


def opened(kind: str) -> tuple[nn.Module, FeatureLayer]:
    if kind == "embedding":
        model: nn.Module = Embedding(nn.Flatten(), nn.Linear(768, 8)).eval()
        return model, find_feature_layer(model, IMAGES, "output")[0]
    model = LikeTimm().eval() if kind == "timm" else like_transformers()
    return model, find_feature_layer(model, IMAGES)[0]


@pytest.mark.parametrize("kind", EXPECTED)
def test_a_model_offers_the_paths_that_its_library_gives_it(kind):
    assert access_paths(*opened(kind)).keys() == EXPECTED[kind]


def test_every_listed_path_is_offered_by_one_of_these_models():
    found = {path for kind in EXPECTED for path in access_paths(*opened(kind)).values()}
    assert found == set(ACCESS_PATHS)


def test_a_path_that_fails_on_a_model_is_left_out():
    given = outcomes(*opened("transformers"), IMAGES)
    assert given.keys() == EXPECTED["transformers"] - {"base_model(...).pooler_output"}


@pytest.mark.parametrize("kind", ["timm", "embedding"])
def test_each_path_sees_that_its_features_were_mapped(kind):
    model, layer = opened(kind)
    with torch.no_grad():
        before = outcomes(model, layer, IMAGES)
        eraser = Projection(torch.linalg.qr(torch.randn(8, 3)).Q)
        attach(model, layer, eraser)
        seen = compare(before, outcomes(model, layer, IMAGES), eraser, layer.dim)
    assert seen.keys() == before.keys()
    assert set(seen.values()) == {"erased"}
