"""Resample: what it promises, against oracles, and attackers who know the map but not its key."""

import copy
import json
import pickle
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import Subset, TensorDataset
from typer.testing import CliRunner

import unspan
from unspan.cli import app
from unspan.erasers import (
    Chain,
    LogitMarginEraser,
    affine_scores,
    from_buffers,
    kind_of,
    placed,
)
from unspan.erasers.discriminant import discriminant
from unspan.erasers.linalg import root
from unspan.erasure.remedies import remedy
from unspan.errors import DataError, InconclusiveError, ModelError, UsageError
from unspan.extraction import statistics
from unspan.extraction.statistics import clustering, computing
from unspan.extraction.stream import TensorFeatures
from unspan.methods import ESC, LEACE, FitContext, Resample
from unspan.methods.resampling.steps import cluster_capacity
from unspan.metrics.linear import linear_auc, linear_probe
from unspan.metrics.mlp import fit_mlp, mlp_probe
from unspan.metrics.neighbours import nearest
from unspan.metrics.outputs import Outputs
from unspan.metrics.score import auc_reading
from unspan.metrics.stability import instability

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]
KEY = b"a key of these tests"
ROOT = Path(__file__).resolve().parents[3]


def clouds(n, seed, *, classes=6, d=16):
    """Features of overlapping classes that a fixed head tells apart."""
    generator = torch.Generator().manual_seed(7)
    centres = 4.0 * torch.linalg.qr(torch.randn(d, d, generator=generator))[0][:classes]
    shapes = torch.randn(classes, d, d, generator=generator) / d**0.5
    head = centres.double(), -centres.double().square().sum(1) / 2
    generator.manual_seed(seed)
    y = torch.arange(classes).repeat_interleave(n)
    z = centres[y] + torch.einsum(
        "nij,nj->ni", shapes[y], torch.randn(len(y), d, generator=generator)
    )
    return (
        Outputs(
            features=z, logits=(z.double() @ head[0].T + head[1]).float(), labels=y, forget=y == 0
        ),
        head,
    )


def context(fit, head, classes=(0,), key=KEY):
    kept = ~fit.forget
    return FitContext(
        forget=TensorFeatures(fit.features[fit.forget], fit.labels[fit.forget], 200),
        retain=TensorFeatures(fit.features[kept], fit.labels[kept], 200),
        head=head,
        classes=classes,
        key=key,
    )


def through(eraser, one, head):
    z = placed(eraser, "last", torch.zeros(1, dtype=torch.float64))(one.features.double())
    return Outputs(
        features=z.float(),
        logits=(z @ head[0].T + head[1]).float(),
        labels=one.labels,
        forget=one.forget,
    )


@pytest.fixture(scope="module")
def case():
    (fit, head), (test, _) = clouds(1500, 1), clouds(500, 2)
    return fit, test, head


@pytest.fixture(scope="module")
def erased(case):
    fit, test, head = case
    done = Resample().fit(context(fit, head))
    return done, through(done.eraser, fit, head), through(done.eraser, test, head)


def mlp_area(fit, test, x, asked):
    logit = fit_mlp(x, fit.forget.long(), 2, [0]).scores(asked)[0]
    margin = (logit[:, 1] - logit[:, 0]).double()
    return auc_reading("", margin[test.forget], margin[~test.forget]).value


# the gate


def test_the_fitted_gate_lets_so_many_others_in_as_asked(case):
    fit, test, head = case
    found = statistics.of_stream(
        TensorFeatures(fit.features[~fit.forget], fit.labels[~fit.forget], 200), head
    )
    for wanted in (0.01, 0.05):
        row = discriminant(
            fit.features[fit.forget].double(), found.count, found.mean, found.covariance, wanted
        )
        share = float(
            (affine_scores(row, test.features[~test.forget].double()) > 0).double().mean()
        )
        assert abs(share - wanted) < 0.02
        assert (
            float((affine_scores(row, test.features[test.forget].double()) > 0).double().mean())
            > 0.9
        )


def test_single_samples_are_refused_with_what_to_use(case):
    """A gate fitted to samples of all classes moves others and forgets nothing."""
    fit, _, head = case
    some = torch.arange(len(fit.labels)) % 6 == 0
    made = FitContext.from_tensors(
        fit.features[some],
        retain=fit.features[~some],
        retain_labels=fit.labels[~some],
        head=head,
        key=KEY,
    )
    with pytest.raises(InconclusiveError, match="single samples use a method that trains"):
        Resample().fit(made)


# what it promises


def test_samples_outside_the_gate_pass_bit_for_bit(case, erased):
    _, test, head = case
    after = placed(erased[0].eraser, "last", test.features)(test.features)
    gated = test.logits.argmax(1) == 0
    assert torch.equal(after[~gated], test.features[~gated]) and not bool(
        (after[gated] == test.features[gated]).all(1).any()
    )


def test_no_probe_finds_the_class_and_the_others_stay(case, erased):
    _, fit, test = erased
    before = linear_probe(case[0], case[1], 0).value
    chance = 1 / 6
    found = [
        linear_probe(fit, test, 0),
        mlp_probe(fit, test, 0),
        *(one for one in nearest(fit, test) if one.unit != "AUC"),
    ]
    assert before > 0.9 and max(one.value for one in found) < chance + 0.05, [
        (one.attack, one.value) for one in found
    ]
    hit = test.logits.argmax(1) == test.labels
    assert (
        float(hit[~test.forget].double().mean())
        >= float((case[1].logits.argmax(1) == case[1].labels)[~test.forget].double().mean()) - 0.003
    )
    assert float(hit[test.forget].double().mean()) < 0.05


def test_a_projection_and_leace_do_not_hide_it_from_the_same_probes(case):
    fit, test, head = case
    for method in (ESC(rank=1), LEACE()):
        eraser = method.fit(context(fit, head)).eraser
        assert (
            linear_probe(through(eraser, fit, head), through(eraser, test, head), 0).value > 0.6
        ), method.name


def test_given_the_cluster_moments_of_what_was_forgotten_are_those_of_the_class_there(case, erased):
    fit, after = case[0], erased[1]
    gated = fit.forget & (fit.logits.argmax(1) == 0)
    for j in range(1, 6):
        own = fit.features[~fit.forget & (fit.logits.argmax(1) == j)].double()
        moved = after.features[gated & (after.logits.argmax(1) == j)].double()
        assert 0.1 < len(moved) / int(gated.sum()) < 0.3  # shares of 1/5
        assert float((moved.mean(0) - own.mean(0)).norm()) < 0.15 * float(own.std(0).norm())
        assert 0.9 < float((moved.var(0).sum() / own.var(0).sum()).sqrt()) < 1.2


def test_the_key_decides_where_a_sample_goes(case):
    fit, _, head = case
    own = fit.features[fit.forget][:300].double()
    maps = [
        placed(Resample().fit(context(fit, head, key=key)).eraser, "last", own)
        for key in (b"1", b"1", b"2")
    ]
    goes = [affine_scores(one.assignment, own).argmax(1) for one in maps]
    assert (
        torch.equal(maps[0](own), maps[1](own))
        and float((goes[0] == goes[2]).double().mean()) < 0.6
    )


# attackers who know the map, not the key


def test_moved_features_can_hardly_be_told_from_real_ones(case, erased):
    """The attacker knows that clusters are imitated, whitens every predicted class by its own
    moments, and looks for what is not real.
    """
    _, fit, test = erased
    parts = [(one.logits.argmax(1), one.features.double().clone()) for one in (fit, test)]
    for j in range(1, 6):
        own = parts[0][1][parts[0][0] == j].clone()
        for place, z in parts:
            z[place == j] = (z[place == j] - own.mean(0)) @ root(own.T.cov(), -0.5)
    x, asked = (
        torch.cat(
            [z, z.square().sum(1, keepdim=True).sqrt(), nn.functional.one_hot(place, 6)], 1
        ).float()
        for place, z in parts
    )
    logs = [one.logits.log_softmax(1) for one in (fit, test)]
    found = {
        "by place": mlp_area(fit, test, x, asked),
        "MLP": mlp_area(fit, test, fit.features, test.features),
        "linear": linear_auc(fit, test, 0).value,
        "scores": mlp_area(fit, test, *logs),
    }
    assert found.pop("by place") <= 0.66 and max(found.values()) <= 0.6, found


def far(fit, asked, classes=6):
    """Mahalanobis distance of every row from its predicted class; learns nothing of forget
    samples.
    """
    found = torch.zeros(len(asked), dtype=torch.float64)
    for j in range(classes):
        own, there = fit.features[fit.logits.argmax(1) == j].double(), asked.logits.argmax(1) == j
        if len(own) > own.shape[1]:
            rest = asked.features[there].double() - own.mean(0)
            found[there] = (rest * torch.linalg.solve(own.T.cov(), rest.T).T).sum(1)
    return found


def test_moved_samples_are_not_farther_from_their_class_than_real_ones(case, erased):
    """The map is fitted on forget samples that the attacker has, too: what tells others apart is
    not seen on them.
    """
    _, fit, test = erased
    distance = far(fit, test)
    assert 0.4 < auc_reading("", distance[test.forget], distance[~test.forget]).value < 0.65


def test_answers_to_an_image_and_the_same_with_noise_share_no_value(case, erased):
    """A clamp would: a value at its end is the same to the bit, and no real feature is."""
    test = case[1]
    eraser = placed(erased[0].eraser, "last", torch.zeros(1, dtype=torch.float64))
    clean, noisy = (
        eraser(
            test.features.double()
            + size * torch.randn(test.features.shape, generator=torch.Generator().manual_seed(0))
        )
        for size in (0.0, 0.002)
    )
    assert not bool(((clean == noisy) & (clean != 0)).any())


def test_trees_do_not_find_it_in_single_features(case, erased):
    """Learners that cut one feature at a time saw tails and zeros that were not those of the class:
    a map of moments alone is read at AUC 0.8.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    _, fit, test = erased
    trees = HistGradientBoostingClassifier(random_state=0, max_iter=50).fit(
        fit.features.numpy(), fit.forget.numpy()
    )
    chance = torch.from_numpy(trees.predict_proba(test.features.numpy())[:, 1].copy())
    assert auc_reading("", chance[test.forget], chance[~test.forget]).value < 0.62


def test_features_are_distributed_as_in_the_cluster_they_go_to(digits_net, digits_request, digits):
    """Zeros after a ReLU in particular: silent units, and those that are silent now and then."""
    done = unspan.erase(digits_net, digits_request, key=KEY)
    x, y = (torch.stack([torch.as_tensor(one) for one in part]) for part in zip(*digits["train"]))
    z, before = unspan.features(done.model, x), unspan.features(digits_net, x)
    with torch.no_grad():
        goes = done.model(x).argmax(1)
    for j in (c for c in range(10) if c != 3):
        moved, own = z[(y == 3) & (goes == j)], before[(y != 3) & (goes == j)]
        if len(moved) >= 8:
            assert float((moved == 0).double().mean()) == pytest.approx(
                float((own == 0).double().mean()), abs=0.12
            )
            silent = (own == 0).all(0)
            assert float((moved[:, silent] == 0).double().mean()) > 0.95


def test_another_key_gives_another_map(case, erased):
    """Same data, same code, another key: the gate of an attacker is exact, where samples go is
    not.
    """
    fit, test, head = case
    own = test.features[test.forget & (test.logits.argmax(1) == 0)].double()
    moved = placed(erased[0].eraser, "last", own)(own)
    errors = {}
    for key in (KEY, b"guess"):
        guess = placed(Resample().fit(context(fit, head, key=key)).eraser, "last", own)(own)
        errors[key] = float(
            (moved - guess).square().sum(1).median() / (own - own.mean(0)).square().sum(1).median()
        )
    assert errors[KEY] == 0 and errors[b"guess"] > 0.5, errors


def test_known_pairs_give_the_map_away_but_for_the_noise(case, monkeypatch):
    """A limit, kept as a test: original features of some samples of one cluster, and a linear fit,
    undo most of what is not noise there.
    """
    monkeypatch.setattr(clustering, "MAX_PER_CLASS", 1)
    fit, _, head = case
    own = fit.features[fit.forget & (fit.logits.argmax(1) == 0)].double()
    left = {}
    for fraction in (0.0, 0.5):
        eraser = placed(
            Resample(noise_fraction=fraction).fit(context(fit, head)).eraser,
            "last",
            torch.zeros(1, dtype=torch.float64),
        )
        goes = affine_scores(eraser.assignment, own).argmax(1)
        here = own[goes == goes.mode().values]
        known, asked = here[:-80], here[-80:]
        after = [torch.cat([eraser(one), torch.ones(len(one), 1)], 1) for one in (known, asked)]
        back = after[1] @ torch.linalg.lstsq(after[0], known).solution
        left[fraction] = float(
            (back - asked).square().sum() / (asked - known.mean(0)).square().sum()
        )
    assert left[0.0] < 0.2 < 0.4 < left[0.5], left


def test_two_views_of_an_image_give_away_what_one_does_not(case):
    """A limit, kept as a test: another view lies 0.3 from the first in every direction; of what is
    forgotten its answer has mostly other noise.
    """
    fit, test, head = case
    eraser = Resample().fit(context(fit, head)).eraser
    found = {}
    for name, change in (
        ("one", lambda one, _: one),
        ("two", lambda one, two: torch.cat([one, two, (one - two).abs()], 1)),
    ):
        inputs = []
        for part, seed in ((fit, 3), (test, 4)):
            view = replace(
                part,
                features=part.features
                + 0.3
                * torch.randn(part.features.shape, generator=torch.Generator().manual_seed(seed)),
            )
            inputs.append(change(*(through(eraser, one, head).features for one in (part, view))))
        found[name] = mlp_area(fit, test, *inputs)
    assert found["one"] < 0.62 and found["two"] > 0.8, found
    page = " ".join((ROOT / "docs/resample.md").read_text("utf-8").split())
    assert "An image and its mirror image are neighbours too" in page


def test_who_learns_from_pairs_of_other_classes_learns_to_change_nothing(case, erased):
    """Answers of the original and the erased model to other classes are equal, and undo nothing."""
    fit, _, _ = case
    _, after, asked = erased
    known = ~fit.forget & (fit.logits.argmax(1) != 0)
    learned = torch.linalg.lstsq(after.features[known], fit.features[known]).solution
    assert torch.allclose(learned, torch.eye(len(learned)), atol=1e-4)
    back = [replace(one, features=one.features @ learned) for one in (after, asked)]
    assert linear_probe(*back, 0).value < 1 / 6 + 0.05


def test_who_makes_erasers_of_guessed_keys_learns_nothing_for_the_real_one(case, erased):
    """The attacker has the data of the fit, but no answers to the forgotten class."""
    fit, _, head = case
    made = [Resample().fit(context(fit, head, key=bytes([guess]))).eraser for guess in range(2)]
    answers = [through(one, fit, head) for one in made]
    joined = Outputs(
        **{
            name: torch.cat([getattr(one, name) for one in answers])
            for name in ("features", "logits", "labels", "forget")
        }
    )
    assert linear_probe(joined, erased[2], 0).value < 1 / 6 + 0.05


def averaged(case, eraser, size, copies=20):
    """Means of the answers to copies of every sample that lie `size` apart in each feature."""
    found = []
    for part in case[:2]:
        total = torch.zeros_like(part.features)
        for seed in range(copies):
            noise = torch.randn(part.features.shape, generator=torch.Generator().manual_seed(seed))
            copied = replace(part, features=part.features + size * noise)
            total += through(eraser, copied, case[2]).features
        found.append(replace(part, features=total / copies))
    return found


def test_means_of_answers_to_altered_copies_give_the_class_away_and_the_card_says_so(case, erased):
    """Left open: copies that differ little keep their noise, of others it averages out."""
    eraser = erased[0].eraser
    assert linear_probe(*averaged(case, eraser, 0.002), 0).value < 1 / 6 + 0.05
    assert linear_probe(*averaged(case, eraser, 0.3), 0).value > 0.6
    card = " ".join(Resample.card().text.split())
    assert "So does a probe trained on means of answers to altered copies" in card


def test_more_noise_moves_less_under_noisy_queries_and_hides_from_neighbours(case):
    """Queries with a little noise, and the nearest neighbour: neither tells much."""
    fit, test, head = case
    noisy = test.features + 0.002 * torch.randn(
        test.features.shape, generator=torch.Generator().manual_seed(0)
    )
    gains, near = {}, {}
    for fraction in (0.0, 0.5):
        eraser = Resample(noise_fraction=fraction).fit(context(fit, head)).eraser
        gains[fraction] = instability(
            *(placed(eraser, "last", test.features)(one) for one in (test.features, noisy)),
            test.forget,
        )
        near[fraction] = max(
            one.value
            for one in nearest(through(eraser, fit, head), through(eraser, test, head))
            if "k=1," in one.attack
        )
    assert (
        gains[0.5].detail["median_gain"]["forget"]
        < 0.85 * gains[0.0].detail["median_gain"]["forget"]
        and gains[0.5].value < gains[0.0].value
    )
    assert near[0.5] < 1 / 6 + 0.05, near  # chance is 1/6, three standard errors of 500 samples


def test_clusters_leave_capacity_for_what_the_gate_misses(case):
    fit, _, head = case
    kept = statistics.of_stream(
        TensorFeatures(fit.features[~fit.forget], fit.labels[~fit.forget], 200), head
    ).without_classes([0])
    missed = kept.mean[3].expand(10, -1)
    wanted = cluster_capacity(kept, missed, 1000) - cluster_capacity(kept, missed[:0], 1000)
    assert float(wanted[3]) == -10 and float(wanted.sum()) == pytest.approx(-10)
    assert bool((cluster_capacity(kept, kept.mean[3].expand(999, -1), 1000) > 0).all())


# the head alone


def test_with_the_head_alone_only_class_and_margin_are_left(case):
    fit, test, head = case
    made = replace(context(fit, head), retain=None)
    method = Resample(statistics="head")
    assert method.needs == {"forget"}
    eraser = method.fit(made).eraser
    assert isinstance(eraser, LogitMarginEraser)
    after, asked = through(eraser, fit, head), through(eraser, test, head)
    kept = ~test.forget & (test.logits.argmax(1) != 0)
    assert torch.equal(asked.logits.argmax(1)[kept], test.logits[kept].argmax(1))
    top = test.logits[kept][:, 1:].topk(2, 1).values
    assert torch.allclose(asked.logits[kept].amax(1), top[:, 0] - top[:, 1], atol=1e-3)
    assert max(linear_probe(after, asked, 0).value, mlp_probe(after, asked, 0).value) < 1 / 6 + 0.05
    gated = fit.forget & (fit.logits.argmax(1) == 0)
    filled = torch.bincount(after.logits[gated].argmax(1), minlength=6)[1:] / int(gated.sum())
    assert float((filled - 0.2).abs().max()) < 0.05, filled  # by the key, not by the runner-up


# statistics


def test_a_few_samples_of_a_sparse_network_are_hidden_too(
    digits_net, digits_request, digits, deleted
):
    """After a ReLU most features are 0, many always in a class: what goes there is silent where the
    class is, and never negative.
    """
    x, y = (torch.stack([torch.as_tensor(one) for one in part]) for part in zip(*digits["train"]))
    asked, truth = (
        torch.stack([torch.as_tensor(one) for one in part]) for part in zip(*digits["test"])
    )
    fit, test = (
        Outputs(
            features=unspan.features(deleted.model, images),
            logits=deleted.model(images).detach(),
            labels=labels,
            forget=labels == 3,
        )
        for images, labels in ((x, y), (asked, truth))
    )
    assert float(fit.features.min()) == 0.0
    found = [linear_probe(fit, test, 0), mlp_probe(fit, test, 0)]
    assert max(one.value for one in found) < 0.25, [(one.attack, one.value) for one in found]


def test_a_file_of_statistics_gives_the_same_map_as_the_data(case, tmp_path):
    fit, _, head = case
    own = context(fit, head)
    direct = Resample().fit(own).eraser
    path = statistics.of_stream(own.retain, head).save(tmp_path / "s.safetensors")
    filed = Resample(statistics=str(path)).fit(context(fit, head)).eraser
    assert torch.allclose(
        *(through(one, fit, head).features for one in (direct, filed)), rtol=1e-3, atol=1e-3
    )
    assert path.stat().st_mode & 0o077 == 0


def test_many_clusters_share_one_covariance(case, monkeypatch):
    fit, test, head = case
    whole = statistics.of_stream(TensorFeatures(fit.features, fit.labels, 200), head)
    monkeypatch.setattr(computing, "COVARIANCE_LIMIT", 5 * 16**2 - 1)
    found = statistics.of_stream(TensorFeatures(fit.features, fit.labels, 200), head)
    assert len(whole.mean) > len(
        found.mean
    ) == 6 and found.covariance.shape == found.correlation.shape == (1, 16, 16)
    residuals = torch.cat(
        [
            part.double() - part.double().mean(0)
            for part in (fit.features[fit.logits.argmax(1) == j] for j in range(6))
        ]
    )
    assert torch.allclose(found.covariance[0], residuals.T @ residuals / (len(fit) - 6), atol=1e-4)
    eraser = Resample().fit(context(fit, head)).eraser
    assert eraser.maps.shape == eraser.covariance_correction.shape == (1, 16, 16)
    assert (
        linear_probe(through(eraser, fit, head), through(eraser, test, head), 0).value < 1 / 6 + 0.1
    )


def test_statistics_of_another_model_are_refused(case, tmp_path):
    fit, _, head = case
    path = statistics.of_stream(TensorFeatures(fit.features, fit.labels, 200), head).save(
        tmp_path / "s.safetensors"
    )
    with pytest.raises(UsageError, match="another head"):
        Resample(statistics=str(path)).fit(context(fit, (head[0].flip(0), head[1])))
    found = statistics.load(path)
    replace(found, labels=found.labels + 99).save(path)
    with pytest.raises(UsageError, match="another head"):
        Resample(statistics=str(path)).fit(context(fit, head))
    with pytest.raises(UsageError, match="d=16"):
        Resample(statistics=str(path)).check(17)


# embeddings without a head


def test_without_a_head_a_fitted_gate_and_clusters_do_it(case):
    fit, test, head = case
    eraser = Resample().fit(context(fit, None)).eraser
    after, asked = through(eraser, fit, head), through(eraser, test, head)
    assert linear_probe(after, asked, 0).value < 0.25 < 0.9 < linear_probe(fit, test, 0).value
    assert float((asked.features == test.features).all(1)[~test.forget].double().mean()) > 0.97


def test_embeddings_of_one_length_keep_it(case):
    fit, test, _ = case
    unit = [
        replace(one, features=nn.functional.normalize(one.features, dim=1)) for one in (fit, test)
    ]
    eraser = placed(Resample().fit(context(unit[0], None)).eraser, "last", unit[1].features)
    assert torch.allclose(eraser(unit[1].features).norm(dim=1), torch.ones(len(test)), atol=1e-5)


# in a model


@pytest.fixture(scope="module")
def deleted(digits_net, digits_request):
    return unspan.erase(digits_net, digits_request, key=KEY)


def test_it_is_the_default_for_a_class_with_a_retain_set(deleted, digits_net, digits_request):
    assert deleted.receipt["method"]["name"] == "resample"
    assert "key" not in json.dumps(deleted.receipt["method"])


def test_save_load_copy_and_export_keep_the_map(deleted, digits, tmp_path):
    pytest.importorskip("onnxruntime")
    x = torch.stack([x for x, _ in digits["test"]])[:100]
    want = deleted.model(x)
    path = deleted.save(tmp_path / "erased")
    from unspan.zoo import DigitsCNN

    loaded = unspan.load(path, model=DigitsCNN())
    assert torch.equal(loaded(x), want) and torch.equal(
        unspan.features(loaded, x), unspan.features(deleted.model, x)
    )
    assert (
        from_buffers(kind_of(deleted.eraser), dict(deleted.eraser.named_buffers())).maps.shape
        == deleted.eraser.maps.shape
    )
    for form in ("onnx", "pt2"):
        assert unspan.export(deleted.model, x, tmp_path / f"m.{form}", format=form) < 1e-3
    assert set(deleted.receipt["access_paths"].values()) <= {"erased"}


def test_a_folder_of_an_older_version_says_what_to_do(deleted, tmp_path):
    path = deleted.save(tmp_path / "erased")
    receipt = path / "receipt.json"
    receipt.write_text(receipt.read_text("utf-8").replace("receipt/2", "receipt/1"), "utf-8")
    with pytest.raises(ModelError, match="for an older one, erase again from the original"):
        unspan.inspect(path)


class Pooled(nn.Module):
    """A convolution network whose pooling is a module of its own."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 24, 3, padding=1), nn.ReLU())
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(24, 10)

    def forward(self, x):
        return self.head(self.pool(self.body(x)))


@pytest.mark.parametrize("change", ["pooling", "head", "both", "copy", "compiled"])
def test_who_makes_pooling_or_head_anew_still_meets_the_map(change, digits):
    torch.manual_seed(0)
    net, (x, y) = (
        Pooled(),
        (torch.stack([torch.as_tensor(one) for one in part]) for part in zip(*digits["train"])),
    )
    adam = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(150):
        adam.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        adam.step()
    done = unspan.erase(
        net.eval(),
        unspan.Request.by_class(digits["train"], 0),
        Resample(),
        check_labels=False,
        key=KEY,
    )
    model, want = done.model, unspan.features(done.model, x)
    assert not torch.allclose(want, unspan.features(net, x))
    if change == "compiled":
        assert torch.allclose(torch.compile(model, backend="eager")(x), model(x), atol=1e-4)
        return
    model = pickle.loads(pickle.dumps(model)) if change == "copy" else model
    if change in ("pooling", "both"):
        model.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    if change in ("head", "both", "copy"):
        model.head = nn.Identity()
        assert torch.allclose(model(x), want)
    else:
        assert torch.allclose(model(x), want @ model.head.weight.T + model.head.bias, atol=1e-5)


def test_a_further_request_keeps_the_first_one(deleted, digits_net, digits, tmp_path):
    rest = Subset(
        digits["train"], [i for i in range(len(digits["train"])) if int(digits["train"][i][1]) != 3]
    )
    from unspan.zoo import DigitsCNN

    path = deleted.save(tmp_path / "one")
    for start in (deleted, unspan.load(path, model=DigitsCNN())):
        second = unspan.erase(start, unspan.Request.by_class(rest, 5, num_classes=10))
        assert (
            isinstance(second.eraser, Chain)
            and second.receipt["placement"]["eraser"] == "resampler+resampler"
        )
        x, y = (
            torch.stack(list(part))
            for part in zip(*[(x, torch.as_tensor(y)) for x, y in digits["test"]])
        )
        answer = second.model(x).argmax(1)
        for gone in (3, 5):
            assert float((answer[y == gone] == gone).double().mean()) < 0.2
        keep = (y != 3) & (y != 5)
        assert (
            float((answer == y)[keep].double().mean())
            > float((digits_net(x).argmax(1) == y)[keep].double().mean()) - 0.03
        )
    again = unspan.load(second.save(tmp_path / "two"), model=DigitsCNN())
    assert (
        torch.equal(again(x), second.model(x))
        and kind_of(again._unspan.eraser) == "resampler+resampler"
    )


def test_a_further_request_leaves_out_what_was_erased_before(deleted, digits):
    """The data may still hold what an earlier request erased: its samples go nowhere, and its
    samples are not read.
    """
    second = unspan.erase(deleted, unspan.Request.by_class(digits["train"], 5))
    gone = sum(int(y) in (3, 5) for _, y in digits["train"])
    read = second.receipt["method"]["fit"]
    assert (
        read["classes"] == 8
        and read["retained_used"] <= read["retained_read"] <= len(digits["train"]) - gone
    )


def test_after_a_projection_and_before_one(digits_net, digits_request, digits):
    first = unspan.erase(digits_net, digits_request, ESC(rank=1))
    rest = Subset(
        digits["train"], [i for i in range(len(digits["train"])) if int(digits["train"][i][1]) != 3]
    )
    second = unspan.erase(first, unspan.Request.by_class(rest, 5, num_classes=10), Resample())
    third = unspan.erase(second, unspan.Request.by_class(rest, 7, num_classes=10), ESC(rank=1))
    assert [kind_of(one.eraser) for one in (second, third)] == [
        "projection+resampler",
        "projection+resampler+projection",
    ]
    x = torch.stack([x for x, _ in digits["test"]])
    assert third.model(x).isfinite().all()


def test_the_same_class_again_a_class_outside_the_head_and_too_few_samples_are_said(
    deleted, digits_net, digits_request, digits
):
    with pytest.raises(UsageError, match="erased by an earlier request"):
        unspan.erase(deleted, digits_request, Resample())
    with pytest.raises(UsageError, match="the head has the classes 0 to 9"):
        unspan.erase(
            digits_net, replace(digits_request, classes=(11,)), Resample(), check_labels=False
        )
    with pytest.raises(DataError, match="there are 5"):
        unspan.erase(
            digits_net,
            replace(digits_request, forget=Subset(digits_request.forget, range(5))),
            Resample(),
            check_labels=False,
        )
    two = Subset(
        digits["train"],
        [i for i in range(len(digits["train"])) if int(digits["train"][i][1]) == 4][:15],
    )
    with pytest.raises(DataError, match="use method esc"):
        unspan.erase(
            digits_net, replace(digits_request, retain=two), Resample(), check_labels=False
        )


def test_verify_checks_a_gate_against_the_head(deleted, tmp_path):
    from unspan.auditing.verify import verify
    from unspan.zoo import DigitsCNN

    checks = {one.name: one.ok for one in verify(deleted.save(tmp_path / "e"), model=DigitsCNN())}
    assert all(checks.values()) and "the gate asks what the head says of the request" in checks


def test_statistics_of_an_embedding_model_know_classes_by_label_and_their_own_weights(
    digits, tmp_path
):
    class Embed(nn.Module):
        def __init__(self, seed):
            super().__init__()
            torch.manual_seed(seed)
            self.layers = nn.Sequential(
                nn.Flatten(), nn.Linear(64, 24), nn.Tanh(), nn.Linear(24, 16)
            )

        def forward(self, x):
            return self.layers(x)

    data = [(x, int(y)) for x, y in digits["train"]]
    request = unspan.Request.by_class(digits["train"], 3)
    path = statistics.of_model(Embed(0), data, unspan.Run(), feature_layer="output").save(
        tmp_path / "s.safetensors"
    )
    assert set(statistics.load(path).labels.tolist()) == set(range(10))
    done = unspan.erase(Embed(0), request, Resample(statistics=str(path)), feature_layer="output")
    assert done.receipt["method"]["fit"]["gated"] > 0.3
    with pytest.raises(UsageError, match="other weights"):
        unspan.erase(Embed(1), request, Resample(statistics=str(path)), feature_layer="output")


def test_images_that_the_model_does_not_know_change_nothing(digits_net, digits_request):
    noise = TensorDataset(torch.rand(60, 1, 8, 8), torch.full((60,), 3))
    with pytest.raises(InconclusiveError, match="are recognised as such"):
        unspan.erase(
            digits_net, replace(digits_request, forget=noise), Resample(), check_labels=False
        )


def test_what_is_moved_without_need_is_counted_and_much_of_it_said(
    digits_net, digits_request, digits
):
    asked = digits_request.classes[0]
    x = torch.stack([x for x, y in digits["train"] if int(y) != asked])
    wide = copy.deepcopy(digits_net)
    layer = [one for one in wide.modules() if isinstance(one, nn.Linear)][-1]
    for raised in (0.0, 10.0):
        with torch.no_grad():
            layer.bias[asked] += raised
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            done = unspan.erase(wide, digits_request, Resample(), check_labels=False, key=KEY)
        moved = (unspan.features(done.model, x) != unspan.features(wide, x)).any(1).double().mean()
        assert done.receipt["method"]["fit"]["moved"] == pytest.approx(float(moved))
        assert any("retained samples as well" in str(one.message) for one in caught) == (raised > 0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"noise_fraction": 1.0}, "noise_fraction=1.0"),
        ({"noise_fraction": float("nan")}, "noise_fraction=nan"),
        ({"false_positives": 0.05}, "the head is the gate"),
        ({"false_positives": 0.5}, "false_positives=0.5"),
        ({"statistics": "gone.safetensors"}, "unspan stats"),
    ],
)
def test_impossible_settings_are_refused(digits_net, digits_request, wrong, said):
    with pytest.raises(UsageError, match=said):
        unspan.erase(digits_net, digits_request, Resample(**wrong))


def test_folded_and_single_vectors_only(digits_net, digits_request):
    with pytest.raises(UsageError, match="projected"):
        unspan.erase(digits_net, digits_request, Resample(), form="folded")
    with pytest.raises(UsageError, match="needs a model with a head"):
        unspan.erase(
            digits_net, unspan.Request(forget=digits_request.forget), Resample(statistics="head")
        )


def test_stats_on_the_command_line(digits_net, tmp_path):
    weights, path = tmp_path / "w.safetensors", tmp_path / "s.safetensors"
    save_file(digits_net.state_dict(), weights)
    base = [
        "--model",
        "python:unspan.zoo:DigitsCNN",
        "--weights",
        str(weights),
        "--data",
        "python:examples.digits:data",
    ]
    done = CliRunner().invoke(app, ["stats", *base, "--out", str(path)])
    assert done.exit_code == 0 and "of 10 classes" in done.output, (done.output, done.exception)
    done = CliRunner().invoke(
        app,
        [
            "erase",
            *base,
            "--forget",
            "3",
            "--method",
            "resample",
            "--set",
            f"statistics={path}",
            "--out",
            str(tmp_path / "o"),
        ],
    )
    assert done.exit_code == 0, (done.output, done.exception)
    dropped = CliRunner().invoke(
        app, ["stats", "--from", str(path), "--drop", "3", "--out", str(path), "--overwrite"]
    )
    assert dropped.exit_code == 0 and 3 not in statistics.load(path).labels.tolist()
    head = CliRunner().invoke(
        app,
        [
            "erase",
            *base,
            "--forget",
            "3",
            "--method",
            "resample",
            "--set",
            "statistics=head",
            "--out",
            str(tmp_path / "h"),
        ],
    )
    assert head.exit_code == 0, (head.output, head.exception)
    for wrong in (
        ["stats", "--from", str(path), "--drop", "77", "--out", str(path)],
        [
            "erase",
            *base,
            "--forget",
            "3",
            "--method",
            "resample",
            "--set",
            "statistics=none",
            "--out",
            str(tmp_path / "n"),
        ],
        ["stats", "--out", str(path)],
        ["stats", *base, "--out", str(tmp_path)],
        ["stats", "--from", str(path), "--drop", "deer", "--out", str(path)],
    ):
        assert isinstance(CliRunner().invoke(app, wrong).exception, UsageError)


def test_a_class_whose_features_are_all_constant_gives_a_finite_map():
    """Every unit of the layer is dead for one retained class."""
    torch.manual_seed(0)
    y = torch.arange(900) % 3
    z = torch.randn(900, 5).relu()
    z[torch.arange(900), y] += 4
    z[y == 0] = 0
    model = nn.Sequential(nn.Identity(), nn.Linear(5, 3)).eval()
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].weight[1, 1] = model[1].weight[2, 2] = 1
        model[1].bias.copy_(torch.tensor([2.0, 0.0, 0.0]))
    data = torch.utils.data.TensorDataset(z, y)
    done = unspan.erase(model, unspan.Request.by_class(data, 2), Resample(), measure=False)
    held = dict(done.eraser.named_buffers())
    assert all(float(one.abs().max()) < 1e9 for one in held.values())
    with torch.no_grad():
        assert bool(done.model(z).isfinite().all())


def test_a_head_that_reads_another_class_as_the_forgotten_one_is_refused():
    """Features of class 1 give class 0 ten times the score: nothing may be moved there."""
    weight = torch.tensor([[10.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    head = weight, torch.zeros(3, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(100, 2, generator=generator) * 0.1 + torch.tensor([3.0, 0.0])
    context = FitContext.from_tensors(z, head=head, classes=(0,), key=b"k")
    with pytest.raises(UsageError, match="cannot read them"):
        Resample(statistics="head").fit(context)


def test_the_remedy_is_a_setting_that_the_request_uses(digits_net, digits_request):
    for report, said in (({"moved": 0.1}, "another method"), ({"false_positives": 0.01}, "raise")):
        assert said in remedy(Resample(), report).lower()
    assert Resample(statistics="head").stronger == ()
