"""The units of the columns must not decide: features `x` and `x D`, D from 1e-6 to 1e6."""

from dataclasses import replace
from hashlib import sha256

import pytest
import torch

from unspan.erasers import affine_scores
from unspan.erasers.linalg import Moments, spectrum
from unspan.errors import DataError
from unspan.extraction import statistics
from unspan.extraction.stream import DIGEST, TensorFeatures
from unspan.methods import ESC, ESCT, LEACE, FitContext, Resample
from unspan.methods.baking.energy import energy_distance, whitening_within_classes
from unspan.methods.fisher import noise_variance
from unspan.methods.svd import removal
from unspan.metrics.fewshot import fewshot
from unspan.metrics.guardedness import affine
from unspan.metrics.leakage import null_directions
from unspan.metrics.linear import linear_probe
from unspan.metrics.mlp import mlp_probe
from unspan.metrics.outputs import Outputs
from unspan.metrics.whitening import whitened_probe

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def wide(dim, seed=0):
    """Factors from 1e-6 to 1e6, both ends among them."""
    order = torch.randperm(dim, generator=torch.Generator().manual_seed(seed))
    return (10 ** torch.linspace(-6, 6, dim, dtype=torch.float64))[order].float()


def small_signal(dim):
    """The column that knows the class is 1e-5 of the largest."""
    scale = torch.ones(dim)
    scale[0] = 1e-5
    return scale


SCALES = {"all": wide(12), "other": wide(12, 1), "signal": small_signal(12)}


@pytest.fixture
def cloud():
    """1,200 features of four classes in 12 correlated columns, the first of which knows class 0."""
    draw = torch.Generator().manual_seed(0)
    y = torch.arange(1200) % 4
    centres = 2 * torch.randn(4, 12, generator=draw)
    centres[:, 0] = torch.tensor([4.0, 0.0, 0.0, 0.0])
    mix = torch.eye(12) + 0.3 * torch.randn(12, 12, generator=draw)
    mix[:, 0], mix[0] = 0, 0
    mix[0, 0] = 1
    return centres[y] + torch.randn(1200, 12, generator=draw) @ mix, y


def context(z, y=None, head=None, classes=(0,)):
    """Features as a method reads them; class 0 is to be forgotten."""
    return FitContext.from_tensors(
        z, y, head=head, classes=classes, key=b"a key of these tests", batch_size=100
    )


class Samples(TensorFeatures):
    """Features of samples that are known by their numbers, as a model's are by their inputs."""

    @property
    def digests(self):
        numbers = range(len(super().digests) // DIGEST)
        return b"".join(sha256(str(number).encode()).digest() for number in numbers)


def parted(z, y, head=None, classes=(0,)):
    forget, retain = (Samples(z[rows], y[rows], 100) for rows in (y == 0, y != 0))
    return replace(context(z, y, head, classes), forget=forget, retain=retain)


def head_of(z, y):
    """The nearest class mean as a head, in float64."""
    means = torch.stack([z[y == one].double().mean(0) for one in range(4)])
    return means, -means.square().sum(1) / 2


def scaled_head(head, scale):
    return head[0] / scale.double(), head[1]


def outputs(z, y):
    return Outputs(features=z, logits=None, labels=y, forget=y == 0)


@pytest.mark.parametrize("name", SCALES)
def test_leace_erases_alike_in_all_units(cloud, name):
    z, y = cloud
    scale = SCALES[name]
    plain, scaled = (LEACE().fit(parted(x, y)) for x in (z, z * scale))
    assert scaled.report["r2_before"] == pytest.approx(plain.report["r2_before"], rel=1e-4)
    exact = scaled.eraser((z * scale).double())
    assert affine(exact, y == 0)[2] < 1e-16
    got = scaled.eraser.float()(z * scale)
    assert affine(got, y == 0)[2] < 1e-9
    assert torch.allclose(got / scale, plain.eraser.float()(z), atol=1e-4)


def test_esc_takes_the_columns_of_larger_units_first_and_says_what_it_leaves(cloud):
    z, _ = cloud
    scale = SCALES["all"]
    plain, scaled = ESC(rank=6).fit(context(z)), ESC(rank=6).fit(context(z * scale))
    found = spectrum(_moments(z * scale))
    assert not plain.warnings or "were removed" not in plain.warnings[0]
    assert scaled.report["rank"] == found.rank < 6 and found.small > 0
    assert "of 6 directions were removed" in scaled.warnings[0]
    largest = (scale.argsort(descending=True)[:2]).tolist()
    left = scaled.eraser.float()(z * scale) / scale
    assert float(left[:, largest].abs().max()) < 1e-2
    for settings in ({"p": 60.0}, {"energy": 1 - 1e-15}, {}):
        assert ESC(**settings).fit(context(z.repeat(1, 6) * wide(72))).report["rank"] >= 1


def _moments(z):
    made = Moments(z.shape[1])
    made.update(z)
    return made


def test_too_few_samples_are_still_said_whatever_the_units(cloud):
    z, _ = cloud
    for scale in (torch.ones(12), SCALES["all"]):
        with pytest.raises(DataError, match="the rank is"):
            ESC(rank=5).fit(context(z[:3] * scale))


def test_a_small_column_loses_its_share_of_a_removed_direction_and_a_dead_one_stays_zero(cloud):
    z = cloud[0].double()
    z[:, 2] *= 100
    z[:, 1] = 1e-5 * z[:, 2]  # moves with the column that carries the first direction
    z[:, 3] = 0
    eraser = ESC(rank=1).fit(context(z)).eraser
    assert float(eraser.basis[3].abs().max()) == 0
    assert float(eraser(z)[:, 1].abs().max()) < 0.05 * float(z[:, 1].abs().max())


@pytest.mark.parametrize("name", SCALES)
def test_esc_t_and_the_edits_by_raw_inputs_stay_finite(cloud, name):
    z, y = cloud
    head, x = head_of(z, y), z * SCALES[name]
    made = ESCT(tau=0.9999, lr=10.0, epochs=3)
    fit = made.fit(context(x[y == 0], y[y == 0], scaled_head(head, SCALES[name])))
    assert bool(fit.eraser.map.isfinite().all())
    forget, retain = ((x[part].double().mT @ x[part].double()) for part in (y == 0, y != 0))
    edit = removal(forget, retain, 3.0, 100.0)
    assert bool(edit.isfinite().all()) and not torch.allclose(edit, torch.eye(12).double())
    assert bool(noise_variance(x.square().mean(0).expand(4, -1), 1e-7, True).isfinite().all())


@pytest.fixture
def fitted(cloud):
    """Resample on the plain features: what it gives, and the head."""
    z, y = cloud
    head = head_of(z, y)
    return Resample().fit(parted(z, y, head)).eraser(z.double()), head


@pytest.mark.parametrize("name", SCALES)
def test_resample_moves_alike_in_all_units(cloud, fitted, name):
    z, y = cloud
    want, head = fitted
    scale = SCALES[name].double()
    x = (z.double() * scale).float()
    fit = Resample().fit(parted(x, y, scaled_head(head, scale)))
    got = fit.eraser(x.double()) / scale
    stays = affine_scores(torch.cat([head[0], head[1][:, None]], 1), z.double()).argmax(1) != 0
    assert torch.allclose(got[stays], z[stays].double(), rtol=1e-6)
    near = ((got - want).abs() < 1e-2).all(1).double().mean()
    assert near > 0.99  # a code may flip where two scores are equal to rounding
    read = linear_probe(outputs(got.float(), y), outputs(got.float(), y)).value
    assert abs(read - linear_probe(outputs(want.float(), y), outputs(want.float(), y)).value) < 0.05
    # as it is installed: in float32
    assert (
        float(((fit.eraser.float()(x) / scale - want).abs() < 1e-2).all(1).double().mean()) > 0.98
    )


@pytest.mark.parametrize("settings", [{"statistics": "head"}, {"false_positives": 0.02}])
def test_resample_without_statistics_or_without_a_head_too(cloud, settings):
    z, y = cloud
    head, scale = head_of(z, y), SCALES["all"].double()
    given = []
    for unit in (torch.ones(12).double(), scale):
        x = (z.double() * unit).float()
        by_head = scaled_head(head, unit) if "statistics" in settings else None
        stream = parted(x, y, by_head, (0,) if by_head else ())
        given.append(Resample(**settings).fit(stream).eraser(x.double()) / unit)
    if "statistics" in settings:  # features are made anew; what the head reads is the promise
        given = [one @ head[0].mT for one in given]
    assert float(((given[0] - given[1]).abs() < 1e-2).all(1).double().mean()) > 0.98


def test_a_file_of_statistics_knows_its_samples_in_all_units(cloud):
    z, y = cloud
    scale = SCALES["all"]
    plain, scaled = (statistics.of_features(x, y, None) for x in (z, z * scale))
    assert torch.equal(plain.count, scaled.count)
    assert torch.allclose(plain.correlation, scaled.correlation, atol=1e-4)
    assert torch.allclose(scaled.mean / scale, plain.mean, atol=1e-4)
    less = [
        statistics.without_samples(one, x[y == 0].double()[:100], None)
        for one, x in ((plain, z), (scaled, z * scale))
    ]
    assert torch.equal(less[0].count, less[1].count) and int(less[0].count.sum()) < len(z)
    back = less[1].divided(scale.double())
    assert torch.allclose(back.covariance, less[0].covariance, atol=1e-3)
    assert torch.allclose(
        replace(back, mean=less[0].mean).deviations(), less[0].deviations(), rtol=1e-3
    )


@pytest.mark.parametrize("name", SCALES)
def test_the_distance_of_bake_has_no_units(cloud, name):
    z, y = (part[:300] for part in cloud)
    scale = SCALES[name].double()
    f, r = z[y == 0].double(), z[y != 0].double()
    to = 1 + torch.arange(len(f)) % 3
    want = energy_distance(f, to, r, y[y != 0])
    assert torch.allclose(energy_distance(f * scale, to, r * scale, y[y != 0]), want)
    both = [
        energy_distance(f * unit, to, r * unit, y[y != 0], supplementary=f * unit)
        for unit in (1, scale)
    ]
    assert torch.allclose(*both)
    constant = torch.cat([r[:, :11], torch.ones(len(r), 1)], 1)
    assert bool(whitening_within_classes(constant, y[y != 0])[1].isfinite().all())


READERS = {
    "linear": linear_probe,
    "whitened": whitened_probe,
    "mlp": lambda fit, test: mlp_probe(fit, test, seeds=1),
    "few": lambda fit, test: next(
        one for one in fewshot(fit, test, shots=(50,)) if "standardised" in one.attack
    ),
    "refit": lambda fit, test: next(
        one for one in fewshot(fit, test, shots=(50,)) if "refit" in one.attack
    ),
}


@pytest.mark.parametrize("reader", READERS)
def test_probes_read_alike_in_all_units(cloud, reader):
    z, y = cloud
    both = [
        READERS[reader](outputs(x[:600], y[:600]), outputs(x[600:], y[600:])).value
        for x in (z, z * SCALES["all"])
    ]
    assert both[0] == pytest.approx(both[1], abs=0.01) and both[0] > 0.5


@pytest.mark.parametrize("name", SCALES)
def test_guardedness_and_what_a_head_lost_are_seen_in_all_units(cloud, name):
    z, y = cloud
    scale = SCALES[name]
    assert affine(z * scale, y == 0)[2] == pytest.approx(affine(z, y == 0)[2], rel=1e-4)
    weight = head_of(z, y)[0] / scale.double()
    basis = spectrum(_moments(z * scale)).basis[:, :1]
    found = null_directions(weight, weight - weight @ basis @ basis.mT)
    assert found.shape[1] >= 1 and float((found.mT @ basis).norm()) > 1 - 1e-6
