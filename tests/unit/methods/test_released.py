"""Defects of released code, which live in experiments/released and load as any other method."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from released import spec
from torch import nn
from torch.utils.data import TensorDataset

import unspan
from unspan.data.passes import read_batches
from unspan.erasers import LinearMap
from unspan.errors import UsageError
from unspan.extraction import find_feature_layer
from unspan.extraction.model_reading import FeatureReading
from unspan.extraction.stream import ModelFeatures
from unspan.methods import BadTeaching, by_name
from unspan.training.samples import generator


@pytest.mark.parametrize(
    ("file", "name", "called"),
    [
        ("esc", "ReleasedESC", "esc-released"),
        ("esc", "ReleasedESCT", "esc-t-released"),
        ("bad_teaching", "ReleasedBadTeaching", "bad-teaching-released"),
        ("random_labels", "ReleasedRandomLabels", "random-labels-released"),
        ("dlfd", "ReleasedDLFD", "dlfd-released"),
        ("ssd", "ReleasedSSD", "ssd-released"),
    ],
)
def test_a_reproduction_is_a_method_of_its_own(file, name, called):
    method = by_name(spec(file, name))
    assert method.name == called
    assert method() == replace(method())


def test_released_random_labels_are_true_in_one_of_c_cases():
    y = torch.randint(6, (30_000,), generator=torch.Generator().manual_seed(1))
    method = by_name(spec("random_labels", "ReleasedRandomLabels"))()
    drawn = method.draw(SimpleNamespace(classes=6, forgotten=()), y, generator(0, "x"))
    assert 0.14 < float((drawn == y).double().mean()) < 0.19


def test_released_bad_teaching_divides_by_the_number_of_classes():
    draw = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 5, 7, generator=draw)
    method = by_name(spec("bad_teaching", "ReleasedBadTeaching"))()
    whole = BadTeaching().divergence(student, teacher)
    assert float(method.divergence(student, teacher)) == pytest.approx(float(whole) / 7)


def test_released_esc_reads_everything():
    with pytest.raises(UsageError, match="reads all samples"):
        by_name(spec("esc", "ReleasedESC"))(adaptive=True)


def with_norm():
    """A network whose batch norm follows what it reads in training mode."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 9, 4)
    ).eval()


@pytest.mark.parametrize("name", ["ReleasedESC", "ReleasedESCT"])
@pytest.mark.parametrize("n", [40, 43])  # 43: the last batch holds three samples
@pytest.mark.filterwarnings("ignore")
def test_released_batch_norm_drifts_as_in_a_plain_loop(name, n):
    x = torch.randn(n, 3, 5, 5, generator=torch.Generator().manual_seed(1)) + 1
    settings = {"rank": 1} if name == "ReleasedESC" else {"lr": 1.0}
    plain = with_norm()
    data = TensorDataset(x, plain(x).argmax(1))
    method = by_name(spec("esc", name))(**settings)
    run = unspan.Run(batch_size=8)
    done = unspan.erase(with_norm(), data, method, run, check_labels=False, measure=False)
    plain.train()
    for batch in x.split(8):
        plain(batch)
    found = dict(done.model.named_buffers())
    for key in ("running_mean", "running_var"):
        (own,) = [one for full, one in found.items() if full.endswith(f"1.{key}")]
        torch.testing.assert_close(own, getattr(plain[1], key), rtol=1e-5, atol=1e-6)


def test_features_of_a_norm_without_statistics_are_those_of_the_real_batch():
    norm = nn.BatchNorm1d(5, track_running_stats=False)
    net = nn.Sequential(nn.Linear(5, 5), norm, nn.Linear(5, 3)).eval()
    x = torch.randn(11, 5, generator=torch.Generator().manual_seed(2))
    data = TensorDataset(x, torch.zeros(11).long())
    layer, _ = find_feature_layer(net, x[:2])
    run = unspan.Run(batch_size=8)
    reading = FeatureReading(net, layer)
    parts = read_batches(data, run, reading)
    read = ModelFeatures(reading, parts, run, total=11, head=None)
    with torch.no_grad():
        expected = torch.cat([net[1](net[0](part)) for part in x.split(8)])
        found = torch.cat([features for features, _ in read])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_reproduction_erases_and_its_receipt_names_it(digits_net, digits_request):
    method = by_name(spec("esc", "ReleasedESC"))(rank=1)
    done = unspan.erase(digits_net, digits_request, method, measure=False)
    assert done.receipt["method"]["name"] == "esc-released"
    assert isinstance(done.eraser, LinearMap)
