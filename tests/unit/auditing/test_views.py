"""Ten views of an image: what each does, and what an attacker gains who averages over them."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import unspan
from unspan.auditing import readers
from unspan.auditing.collect import collect
from unspan.auditing.readers import OUTPUTS, OVER_VIEWS
from unspan.auditing.subjects import subject
from unspan.auditing.suite import view_attacks
from unspan.auditing.views import (
    VIEWS,
    are_images,
    compressed,
    cropped,
    mean_of,
    mirrored,
    noisy,
    some,
)
from unspan.extraction import equal_modules
from unspan.metrics.linear import linear_probe
from unspan.metrics.outputs import Outputs
from unspan.run import Run


def images(n=6, channels=3, height=24, width=16):
    """Smooth pictures: a gradient in another direction for each."""
    down = torch.linspace(-1, 1, height)[:, None]
    right = torch.linspace(-1, 1, width)[None, :]
    turned = torch.linspace(0, 3, n * channels).view(n, channels, 1, 1)
    return turned.cos() * down + turned.sin() * right


@pytest.mark.parametrize("change", VIEWS)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_view_is_an_image_of_the_same_form_whatever_else_is_in_the_batch(change, channels):
    x = images(channels=channels)
    seen = change(x)
    assert seen.shape == x.shape and seen.dtype == x.dtype and bool(seen.isfinite().all())
    assert torch.allclose(seen[2:4], change(x[2:4]), atol=1e-6)
    assert torch.equal(change(x), seen)
    assert torch.equal(x, images(channels=channels)), "the image itself was altered"


def test_all_views_differ_and_the_first_is_the_image_itself():
    x = images(n=1)
    seen = [change(x) for change in VIEWS]
    assert len(VIEWS) == 10 and torch.equal(seen[0], x)
    apart = [(a - b).abs().max() for i, a in enumerate(seen) for b in seen[:i]]
    assert min(apart) > 1e-4


def test_what_the_views_do():
    x = images(n=2)
    assert torch.equal(mirrored(x), x.flip(3))
    assert float((cropped(x) - x).abs().mean()) < 0.1
    assert 0 < float((noisy(x) - x).std()) < 0.2 * float(x.std())
    assert float((compressed(x) - x).abs().max()) < 0.2
    middle = x.mean((2, 3))
    for change, factor in ((VIEWS[6], 0.5), (VIEWS[7], 1.5)):
        seen = change(x)
        torch.testing.assert_close(seen.mean((2, 3)), middle)
        torch.testing.assert_close(seen.std((2, 3)), factor * x.std((2, 3)))


@pytest.mark.parametrize(("place", "down", "right"), [(2, 1, 1), (3, -1, -1), (4, 1, -1)])
def test_a_shift_moves_every_pixel_by_an_eighth(place, down, right):
    x = torch.zeros(1, 1, 24, 16)
    x[0, 0, 12, 8] = 1
    seen = VIEWS[place](x)[0, 0]
    assert torch.nonzero(seen).tolist() == [[12 + 3 * down, 8 + 2 * right]]


def test_an_image_of_one_colour_stays_what_it_is():
    x = torch.full((2, 3, 16, 16), 0.25)
    for change in VIEWS:
        torch.testing.assert_close(change(x), x)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_tiny_images_have_views_too(size):
    x = torch.rand(2, 1, size, size)
    assert all(change(x).shape == x.shape for change in VIEWS)


def test_only_batches_of_images_are_altered():
    assert are_images(torch.rand(2, 3, 4, 4))
    assert not are_images(torch.rand(2, 3)) and not are_images({"pixel_values": torch.rand(2)})
    assert not are_images(torch.zeros(2, 3, 4, 4, dtype=torch.int64))


def test_some_samples_are_always_the_same_and_all_where_there_are_few():
    data = TensorDataset(torch.arange(50))
    first, again = some(data, 20), some(data, 20)
    assert list(first.indices) == list(again.indices) and len(set(first.indices)) == 20
    assert list(some(data, 100).indices) == list(range(50))


class Hiding(nn.Module):
    """A weak sign of the class in the features, under a strong one that changes with every view."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(4, 3)
        self.scramble = nn.Parameter(300 * torch.randn(64, 4))

    def forward(self, x):
        flat = x.flatten(1)
        sign = nn.functional.one_hot(flat.mean(1).mul(3).long().clamp(0, 2), 4).float()
        return self.head(0.3 * sign + (flat @ self.scramble).sin())


def hidden(n, seed):
    """Images whose mean brightness is their class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    grain = 0.1 * torch.rand(n, 1, 8, 8, generator=generator)
    grain -= grain.mean((2, 3), keepdim=True)
    return (labels[:, None, None, None] + 0.5) / 3 + grain, labels


def read(n, seed, reader, folder):
    x, labels = hidden(n, seed)
    forget = labels == 0
    parts = [TensorDataset(x[rows], labels[rows]) for rows in (forget, ~forget)]
    one = subject("before", Hiding().eval(), x[:2])
    return collect([one], *parts, Run(batch_size=7), folder, "x", reader)[0]["before"]


def test_collected_views_are_the_mean_over_single_passes(tmp_path):
    model, (x, labels) = Hiding().eval(), hidden(30, 0)
    x = torch.cat([x[labels == 0], x[labels != 0]])
    found = read(30, 0, OVER_VIEWS, tmp_path)
    with torch.no_grad():
        told = torch.stack([model(change(x)).log_softmax(1) for change in VIEWS]).mean(0)
        given = torch.stack([unspan.features(model, change(x)) for change in VIEWS]).mean(0)
    torch.testing.assert_close(found.logits, told)
    torch.testing.assert_close(found.features, given)


def test_views_and_single_answers_do_not_share_a_place_in_the_cache(tmp_path):
    single, several = (read(30, 0, reader, tmp_path) for reader in (OUTPUTS, OVER_VIEWS))
    assert not torch.equal(single.features, several.features)
    assert torch.equal(read(30, 0, OUTPUTS, tmp_path).features, single.features)


def test_an_attacker_who_asks_ten_times_reads_what_one_answer_hides(tmp_path):
    one, ten = (
        [read(n, seed, reader, tmp_path) for n, seed in ((300, 1), (600, 2))]
        for reader in (OUTPUTS, OVER_VIEWS)
    )
    plain = linear_probe(*one, 0)
    averaged, answer = view_attacks(*ten, 0, by_class=True)
    assert averaged.value > plain.value + 0.2
    assert len(answer.forget) == len(averaged.forget) == 200


def test_one_view_gives_the_plain_probe(tmp_path):
    one = [read(n, seed, OUTPUTS, tmp_path) for n, seed in ((90, 1), (60, 2))]
    as_views = [
        Outputs(
            features=mean_of([part.features], [part.logits])[0],
            logits=mean_of([part.features], [part.logits])[1],
            labels=part.labels,
            forget=part.forget,
        )
        for part in one
    ]
    found = view_attacks(*as_views, 0, by_class=True)
    assert torch.equal(found[0].forget, linear_probe(*one, 0).forget)
    named = one[1].logits[one[1].forget].argmax(1) == 0
    assert torch.equal(found[1].forget, named.double())


def test_a_request_of_samples_is_told_apart_from_the_rest(tmp_path):
    ten = [read(n, seed, OVER_VIEWS, tmp_path) for n, seed in ((150, 1), (150, 2))]
    found = view_attacks(*ten, 0, by_class=False)
    assert [one.unit for one in found] == ["AUC"]


class Counted(nn.Conv2d):
    """A convolution that counts how often it is computed."""

    calls = 0

    def forward(self, x):
        type(self).calls += 1
        return super().forward(x)


def two_models():
    """A network, and one that differs from it in its head alone."""
    torch.manual_seed(0)
    first = nn.Sequential(Counted(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()
    second = copy.deepcopy(first)
    with torch.no_grad():
        second[3].weight *= 2
    return first, second


def test_what_two_models_share_runs_once_for_each_view_however_many_there_are(
    tmp_path, monkeypatch
):
    x, labels = hidden(8, 0)
    subjects = [subject(str(i), model, x[:2]) for i, model in enumerate(two_models())]
    one_view = 8 * (4 * 36 * 3 + 2 * 3) * 4  # bytes of all outputs of one forward pass
    monkeypatch.setattr(equal_modules, "_MOST", 2 * one_view)
    monkeypatch.setattr(Counted, "calls", 0)
    data = TensorDataset(x, labels)
    found, *_ = collect(subjects, data, None, Run(batch_size=8), tmp_path, "x", OVER_VIEWS)
    assert Counted.calls == len(VIEWS)
    torch.testing.assert_close(found["0"].features, found["1"].features, rtol=0, atol=0)
    assert not torch.equal(found["0"].logits, found["1"].logits)


def test_altered_copies_are_made_once_for_all_models(tmp_path, monkeypatch):
    made = []

    def change(images):
        made.append(len(images))
        return images

    monkeypatch.setattr(readers, "VIEWS", (change,))
    x, labels = hidden(8, 0)
    subjects = [subject(str(i), model, x[:2]) for i, model in enumerate(two_models())]
    data = TensorDataset(x, labels)
    collect(subjects, data, None, Run(batch_size=4), tmp_path, "x", OVER_VIEWS)
    assert made == [4, 4]
