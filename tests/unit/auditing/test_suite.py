"""Every attack of the suite has an identity of its own and a sentence that explains it."""

from dataclasses import replace

import pytest
import torch

from unspan.auditing.self_tests import _by_identity
from unspan.auditing.suite import class_attacks, group_attacks
from unspan.metrics.identity import AttackId, AttackKind
from unspan.metrics.outputs import Outputs
from unspan.report.words.codes import EXPLAIN


def outputs(seed, n=120, d=6, classes=3):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    features = torch.randn(n, d, generator=generator) + labels[:, None]
    logits = torch.randn(n, classes, generator=generator)
    return Outputs(features=features, logits=logits, labels=labels, forget=labels == 0)


@pytest.fixture(scope="module")
def readings():
    fit, test = outputs(0), outputs(1)
    return class_attacks(fit, test, 0, lambda stage: None)


def test_every_attack_is_explained_and_has_its_own_identity(readings):
    group = group_attacks(outputs(0), outputs(1), 0, lambda stage: None)
    for found in (readings, group):
        assert len(_by_identity(found)) == len(found) >= 3
        assert all(EXPLAIN[one.identity.kind] for one in found)


@pytest.mark.parametrize("identity", ["none", "that of another"])
def test_an_attack_without_an_identity_of_its_own_is_refused(readings, identity):
    """Two of one identity would hide each other, and the stronger could be the hidden one."""
    other = AttackId(AttackKind.OTHER) if identity == "none" else readings[0].identity
    new = replace(readings[1], attack="new attack", identity=other)
    with pytest.raises(ValueError, match="'new attack' has no identity of its own"):
        _by_identity([*readings[:1], new])
