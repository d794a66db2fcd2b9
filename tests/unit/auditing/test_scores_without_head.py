"""Class scores that no linear layer gives are audited as scores."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from unspan.audit_record.remarks import RemarkCode, remark
from unspan.auditing.opening import open_models
from unspan.auditing.readers import OUTPUTS
from unspan.data.batch import Batch
from unspan.data.request import classes_in
from unspan.extraction import EqualModules
from unspan.run import Run


class Cosine(nn.Module):
    """Normalised features times normalised weights, as in face and metric learning."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU())
        self.weight = nn.Parameter(torch.randn(classes, 32))

    def forward(self, x):
        features = nn.functional.normalize(self.body(x), dim=1)
        return 12 * features @ nn.functional.normalize(self.weight, dim=1).T


def opened(model, request, **places):
    return open_models(
        model, Cosine(), [Cosine()], request, Run(), places.get("feature_layer"), None
    )


@pytest.mark.parametrize("known", [10, None])
def test_as_many_outputs_as_classes_are_scores_of_every_model(digits, digits_request, known):
    torch.manual_seed(0)
    request = replace(digits_request, num_classes=known)
    assert classes_in(request) == 10
    models = opened(Cosine(), request)
    assert models.notes == [remark(RemarkCode.TAKEN_FOR_SCORES, classes=10)]
    rows = torch.stack([digits["test"][row][0] for row in range(4)])
    for one in (models.before, models.after, *models.others):
        assert one.feature_layer.scores
        batch = Batch(rows, None, list("abcd"), [])
        ((features, scores),) = OUTPUTS.read([one], batch, EqualModules([one.model]))
        torch.testing.assert_close(scores, one.model(rows).detach())
        torch.testing.assert_close(features, scores)


def test_another_number_of_outputs_and_a_named_output_stay_embeddings(digits_request):
    torch.manual_seed(0)
    embedding = opened(Cosine(12), digits_request)
    assert embedding.before.feature_layer.embeds
    assert embedding.notes == []
    named = opened(Cosine(), digits_request, feature_layer="output")
    assert named.before.feature_layer.embeds
