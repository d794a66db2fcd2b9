"""Redraw hides a person in an embedding model: drawn people, and a network with known geometry."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import unspan
from unspan.erasure.choosing import gives_embeddings, situation_of
from unspan.errors import DataError, InconclusiveError, UsageError
from unspan.extraction import statistics
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


# attackers who know the code and have answers, but not the key


def guesses(z, own, labels, count=8):
    """Redrawers of guessed keys, and pairs of an embedding of the person and its new one."""
    before, after = [], []
    for number in range(count):
        made = FitContext.from_tensors(
            own, retain=z[labels != 0], retain_labels=labels[labels != 0], key=bytes([number])
        )
        eraser = Redraw().fit(made).eraser.float()
        before.append(z[labels != 0])
        after.append(eraser.redrawn(z[labels != 0]))
    return torch.cat(before), torch.cat(after)


def test_who_inverts_the_map_of_guessed_keys_does_not_get_the_person_back(crowd, eraser):
    """A linear inverse fitted to draws under other keys, of people whom the attacker has."""
    z, labels = crowd
    before, after = guesses(z, z[labels == 0][:5], labels)
    inverse = torch.linalg.lstsq(after, before).solution
    new, real = eraser(z[labels == 0][5:]), z[labels == 0][5:]
    moved = (new != real).any(1)
    back = nn.functional.normalize(new[moved] @ inverse, dim=1)
    others = z[labels != 0]
    right = (back * real[moved]).sum(1)
    assert area(right, (back @ others.mT).flatten()) < 0.62


def test_who_learns_from_pairs_of_other_people_learns_to_change_nothing(crowd, eraser):
    """Answers of the original and the erased model to other people differ nowhere."""
    z, labels = crowd
    others = z[labels != 0]
    learned = torch.linalg.lstsq(eraser(others), others).solution
    new = eraser(z[labels == 0][5:])
    back = new @ learned
    likeness = nn.functional.cosine_similarity(back, new)
    assert float(likeness.mean()) > 0.95
    assert area(pairs(nn.functional.normalize(back, dim=1)), (back @ others.mT).flatten()) < 0.62


def altered(z, size, seed):
    """Copies of a photo, as far from it as `size` times two photos of a person are apart."""
    generator = torch.Generator().manual_seed(seed)
    change = size * 0.5 / DIM**0.5 * torch.randn(z.shape, generator=generator)
    return nn.functional.normalize(z + change, dim=1)


def likeness_to_the_person(answers, z, labels, mean):
    """AUC of answers `[n, d]` as photos of the person, whose originals the attacker has."""
    z, answers = (
        nn.functional.normalize(one - (one @ mean)[:, None] * mean) for one in (z, answers)
    )
    real, others = z[labels == 0][:5], z[labels != 0]
    return area((answers @ real.mT).mean(1), (answers @ others.mT).flatten())


def read_together(crowd, model, size, attack):
    """The same of 30 answers to copies of a photo: of their mean, or of the medoid."""
    z, labels = crowd
    own = z[labels == 0][5:]
    answers = torch.stack([model(altered(own, size, seed)) for seed in range(30)], 1)
    asked = answers.mean(1)
    if attack == "medoid":
        best = (answers @ answers.mT).sum(2).argmax(1)
        asked = answers[torch.arange(len(own)), best]
    return likeness_to_the_person(asked, z, labels, nn.functional.normalize(z.mean(0), dim=0))


@pytest.mark.parametrize("size", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("attack", ["mean", "medoid"])
def test_answers_to_altered_copies_do_not_identify_together(crowd, eraser, size, attack):
    assert read_together(crowd, nn.Identity(), size, attack) > 0.95
    assert read_together(crowd, eraser, size, attack) < 0.65


def test_copies_altered_beyond_the_gate_identify_together_and_the_card_says_so(crowd, eraser):
    """Left open: some copies pass the gate, and the mean of many answers is the photo again."""
    assert read_together(crowd, eraser, 2.0, "mean") > 0.85
    card = " ".join(Redraw.card().text.split())
    assert (
        "averages the answers to strongly altered copies of a photo, identifies the person" in card
    )


def test_who_asks_for_an_altered_copy_too_sees_who_was_erased_and_the_card_says_so(crowd, eraser):
    """Left open: answers for the person part, those of others stay together."""
    z, labels = crowd
    moves = 1 - nn.functional.cosine_similarity(eraser(z), eraser(altered(z, 0.5, 1)))
    read = area(moves[labels == 0], moves[labels != 0])
    assert read > 0.9
    card = " ".join(Redraw.card().text.split())
    assert "asks twice, with an altered copy of a photo, sees the answers part" in card


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


@pytest.fixture(scope="module")
def written(crowd, tmp_path_factory):
    """A file of statistics of everybody, the person among them."""
    folder = tmp_path_factory.mktemp("statistics")
    return str(statistics.of_features(*crowd, None).save(folder / "s.safetensors"))


def from_file(crowd, path, classes=(0,), samples=5):
    z, labels = crowd
    method = Redraw(statistics=path)
    assert method.needs == {"forget"}
    own = z[labels == 0][:samples]
    return method.fit(FitContext.from_tensors(own, key=b"one", classes=classes))


def test_statistics_of_others_are_enough(crowd, written):
    z, labels = crowd
    fit = from_file(crowd, written)
    assert fit.report["people"] == PEOPLE - 1 and fit.retained_used == EACH * (PEOPLE - 1)
    eraser = fit.eraser.float()
    after = eraser(z)
    new, others = after[labels == 0][20:], after[labels != 0]
    assert area(pairs(new), (new @ others.mT).flatten()) < 0.6
    assert 1 - float((others == z[labels != 0]).all(1).double().mean()) < 0.01


def test_the_person_is_left_out_of_the_statistics_by_samples_too(crowd, written):
    """Where samples are the request, they are taken out of their cluster."""
    fit = from_file(crowd, written, classes=(), samples=20)
    assert fit.retained_used == EACH * (PEOPLE - 1)  # 10 are left of the person, too few to keep


def test_statistics_of_another_layer_or_kind_are_refused(written):
    with pytest.raises(UsageError, match=f"d={DIM}, the model has d=7"):
        Redraw(statistics=written).check(7)
    with pytest.raises(UsageError, match="unspan stats"):
        Redraw(statistics="gone.safetensors").check(DIM)
    with pytest.raises(UsageError, match="statistics=3"):
        Redraw(statistics=3)


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
    folded = situation_of(model, request, unspan.Run(), form="folded")
    assert folded.recommended().name == "esc"


def test_a_classifier_keeps_its_default_and_a_model_that_fails_says_why_later(
    digits_net, digits_request
):
    found = situation_of(digits_net, digits_request, unspan.Run())
    assert found.recommended().name == "resample"
    assert not gives_embeddings(nn.Linear(3, 2), digits_request, unspan.Run(), None, None)


def test_a_linear_probe_trained_with_the_truth_finds_little(crowd, eraser):
    z, labels = crowd
    after, first = eraser(z).double(), torch.arange(len(z)) % EACH < 20
    true = (labels == 0).double()
    ones = torch.cat([after, torch.ones(len(after), 1, dtype=torch.float64)], 1)
    ridge = 0.1 * torch.eye(DIM + 1, dtype=torch.float64)
    weights = torch.linalg.solve(ones[first].mT @ ones[first] + ridge, ones[first].mT @ true[first])
    scores = (ones @ weights)[~first]
    mine = labels[~first] == 0
    assert area(scores[mine], scores[~mine]) < 0.8


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
