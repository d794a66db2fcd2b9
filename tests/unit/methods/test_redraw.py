"""Redraw hides a person in an embedding model: drawn people, and a network with known geometry."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import unspan
from unspan.erasure.choosing import choose_method, gives_embeddings
from unspan.errors import DataError, InconclusiveError, UsageError
from unspan.methods import FitContext, Redraw

pytestmark = pytest.mark.filterwarnings("ignore")
DIM, PEOPLE, EACH = 32, 60, 30


@pytest.fixture(scope="module")
def crowd():
    """Unit embeddings of people and their labels; within a person they vary half as much."""
    generator = torch.Generator().manual_seed(0)
    offset = torch.randn(DIM, generator=generator)
    means = offset + torch.randn(PEOPLE, DIM, generator=generator)
    labels = torch.arange(PEOPLE).repeat_interleave(EACH)
    noise = 0.5 * torch.randn(len(labels), DIM, generator=generator)
    return nn.functional.normalize(means[labels] + noise, dim=1), labels


def context(crowd, samples=5, labelled=True, **given):
    z, labels = crowd
    own, others = z[labels == 0], labels != 0
    return FitContext.from_tensors(
        own[:samples],
        retain=z[others],
        retain_labels=labels[others] if labelled else None,
        **{"key": b"one", **given},
    )


@pytest.fixture(scope="module")
def eraser(crowd):
    return Redraw().fit(context(crowd)).eraser.float()


def area(one, other):
    """Probability that a value of `one` exceeds one of `other`."""
    gaps = one[:, None] - other[None]
    return float((gaps > 0).double().mean() + (gaps == 0).double().mean() / 2)


def pairs(z):
    return (z @ z.mT)[tuple(torch.triu_indices(len(z), len(z), 1))]


@pytest.mark.parametrize(("samples", "labelled"), [(3, True), (5, True), (5, False), (20, True)])
def test_new_photos_of_the_person_are_no_more_alike_than_those_of_strangers(
    crowd, samples, labelled
):
    z, labels = crowd
    fit = Redraw().fit(context(crowd, samples, labelled))
    new, others = z[labels == 0][20:], z[labels != 0]
    strangers = (new @ others.mT).flatten()
    assert area(pairs(new), strangers) > 0.99
    after = fit.eraser.float()(new)
    assert area(pairs(after), (after @ others.mT).flatten()) < 0.6
    assert fit.forget_used == samples and fit.report["moved"] <= 0.0025


def test_the_person_enrolled_again_is_not_identified(crowd, eraser):
    z, labels = crowd
    after = eraser(z)
    enrolled, asked = after[torch.arange(len(z)) % EACH < 20], after[labels == 0][20:]
    names = labels[torch.arange(len(z)) % EACH < 20]
    by_nearest = names[(asked @ enrolled.mT).argmax(1)]
    means = torch.stack([enrolled[names == one].mean(0) for one in range(PEOPLE)])
    by_mean = (asked @ nn.functional.normalize(means, dim=1).mT).argmax(1)
    assert int((by_nearest == 0).sum()) <= 1 and int((by_mean == 0).sum()) <= 2


def test_who_is_not_recognised_passes_bit_for_bit(crowd, eraser):
    z, _ = crowd
    recognised = eraser.recognised(z)
    assert 0 < int(recognised.sum()) < 60
    assert torch.equal(eraser(z)[~recognised], z[~recognised])
    assert (eraser(z)[recognised] != z[recognised]).any(1).all()


def test_new_embeddings_vary_as_people_do_times_the_spread(crowd):
    z, labels = crowd
    others = z[labels != 0].double()
    everyone = Redraw(spread=1.0).fit(context(crowd)).eraser
    wide = Redraw(spread=2.0).fit(context(crowd)).eraser
    plain = everyone.mixing @ everyone.mixing.mT
    torch.testing.assert_close(plain, others.mT.cov(correction=0), atol=1e-8, rtol=1e-6)
    torch.testing.assert_close(wide.mixing, 2 * everyone.mixing)
    draws = everyone.redrawn(others)
    assert float((draws.mean(0) - others.mean(0)).norm()) < 0.1 * float(others.mean(0).norm())


def test_every_embedding_keeps_its_length(crowd):
    z, labels = crowd
    longer = z * torch.linspace(0.5, 2, len(z))[:, None]
    eraser = Redraw().fit(context((longer, labels))).eraser
    torch.testing.assert_close(eraser(longer.double()).norm(dim=1), longer.double().norm(dim=1))


def test_the_key_and_the_embedding_choose_the_new_one(crowd, eraser):
    z, labels = crowd
    own = z[labels == 0]
    other = Redraw().fit(context(crowd, key=b"two")).eraser.float()
    again = Redraw().fit(context(crowd)).eraser.float()
    recognised = eraser.recognised(own)
    assert torch.equal(again(own), eraser(own))
    assert torch.equal(other.recognised(own), recognised)
    likeness = nn.functional.cosine_similarity(other(own), eraser(own))[recognised]
    assert float(likeness.mean()) < 0.9 * float(pairs(own).mean())


def test_rounding_hardly_moves_a_new_embedding(crowd, eraser):
    z, labels = crowd
    own = z[labels == 0]
    own = own[eraser.recognised(own) & eraser.recognised(own.half().float())]
    likeness = nn.functional.cosine_similarity(eraser(own), eraser(own.half().float()))
    assert float(likeness.min()) > 0.999


def test_more_false_positives_recognise_more(crowd):
    z, labels = crowd
    moved = []
    for share in (0.002, 0.02, 0.2):
        eraser = Redraw(false_positives=share).fit(context(crowd)).eraser
        moved.append(float(eraser.recognised(z[labels != 0].double()).double().mean()))
    assert moved == pytest.approx([0.002, 0.02, 0.2], abs=0.001)


@pytest.mark.parametrize("setting", [{"false_positives": 0.0}, {"spread": 0.0}, {"spread": -1.0}])
def test_impossible_settings_are_refused(setting):
    with pytest.raises(UsageError, match=next(iter(setting))):
        Redraw(**setting)


def test_too_few_samples_equal_samples_and_several_people_are_refused(crowd):
    z, labels = crowd
    with pytest.raises(DataError, match="at least 3.*there are 2.*use method esc"):
        Redraw().fit(context(crowd, 2))
    same = replace(context(crowd), forget=context((z[:1].repeat(60, 1), labels[:60])).forget)
    with pytest.raises(DataError, match="there are 1"):
        Redraw().fit(same)
    mixed = z[::EACH][:20]  # one sample each of twenty people
    with pytest.raises(InconclusiveError, match="too little in common.*or use method esc"):
        Redraw().fit(FitContext.from_tensors(mixed, retain=z, retain_labels=labels, key=b"k"))


def test_a_classifier_is_refused(digits_net, digits_request):
    with pytest.raises(UsageError, match="embedding models.*--feature-layer output"):
        unspan.erase(digits_net, digits_request, Redraw())


class Embedder(nn.Module):
    """A network whose embeddings are its inputs, turned."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(DIM, DIM, bias=False)
        generator = torch.Generator().manual_seed(5)
        turned = torch.linalg.qr(torch.randn(DIM, DIM, generator=generator))[0]
        self.body.weight = nn.Parameter(2 * turned)

    def forward(self, x):
        return nn.functional.normalize(self.body(x), dim=1)


def test_erase_save_and_load_in_an_embedding_model(crowd, tmp_path):
    z, labels = crowd
    data = TensorDataset(z, labels)
    parts = [torch.utils.data.Subset(data, list(rows)) for rows in (range(5), range(EACH, len(z)))]
    request = unspan.Request(
        forget=parts[0], retain=parts[1], kind="samples", selector=("a person",)
    )
    model = Embedder().eval()
    done = unspan.erase(model, request, Redraw(), measure=False)
    with pytest.raises(UsageError, match="allow-identifying-projector"):
        done.save(tmp_path / "erased")
    many = unspan.Request(
        forget=torch.utils.data.Subset(data, list(range(25))),
        retain=parts[1],
        kind="samples",
        selector=("a person",),
    )
    with pytest.raises(UsageError, match=r"tell the erased samples from others \(AUC 1.00\)"):
        unspan.erase(model, many, Redraw(), measure=False).save(tmp_path / "erased")
    done.save(tmp_path / "erased", allow_identifying_projector=True)
    said = (tmp_path / "erased" / "README.md").read_text("utf-8")
    assert "random embeddings" in said and "altered copies" in said
    loaded = unspan.load(tmp_path / "erased", model=Embedder())
    with torch.no_grad():
        assert torch.equal(loaded(z), done.model(z))
        new = done.model(z[20:EACH])
        assert area(pairs(new), (new @ model(z[EACH:]).mT).flatten()) < 0.6


def test_it_is_the_default_of_an_embedding_model_with_others_to_keep(crowd):
    z, labels = crowd
    data = TensorDataset(z, labels)
    request = unspan.Request.by_class(data, 0)
    model = Embedder().eval()
    assert unspan.erase(model, request, measure=False).receipt["method"]["name"] == "redraw"
    alone = replace(request, retain=None)
    assert unspan.erase(model, alone, measure=False).receipt["method"]["name"] == "esc"
    folded = choose_method(model, request, unspan.Run(), form="folded")
    assert folded.name == "esc"


def test_a_classifier_keeps_its_default_and_a_model_that_fails_says_why_later(
    digits_net, digits_request
):
    assert choose_method(digits_net, digits_request, unspan.Run()).name == "resample"
    assert not gives_embeddings(nn.Linear(3, 2), digits_request, unspan.Run(), None, None)


def test_it_is_the_default_of_a_further_request_too(crowd, tmp_path):
    z, labels = crowd
    data = TensorDataset(z, labels)
    first = unspan.erase(Embedder().eval(), unspan.Request.by_class(data, 0), measure=False)
    later = replace(
        unspan.Request.by_class(data, 1),
        retain=torch.utils.data.Subset(data, (labels > 1).nonzero()[:, 0].tolist()),
    )
    path = first.save(tmp_path / "first", allow_identifying_projector=True)
    for start in (first, unspan.load(path, model=Embedder())):
        second = unspan.erase(start, later, measure=False)
        assert second.receipt["method"]["name"] == "redraw"
        assert second.receipt["placement"]["eraser"] == "redrawer+redrawer"
        with torch.no_grad():
            after = second.model(z)
        for gone in (0, 1):
            own, others = after[labels == gone][20:], after[labels > 1]
            assert area(pairs(own), (own @ others.mT).flatten()) < 0.6
    by_span = unspan.erase(
        Embedder().eval(), unspan.Request.by_class(data, 0), unspan.ESC(rank=1), measure=False
    )
    assert unspan.erase(by_span, later, measure=False).receipt["method"]["name"] == "esc"
