from pathlib import Path

import pytest
import torch
from shared_fits import fresh_fits, shared_fits  # noqa: F401 (fixtures)
from torch.utils.data import Subset, TensorDataset

from unspan.erasure import guard
from unspan.metrics import mlp

# Only these are about what a deletion may cost. Others erase toy networks in ways that ruin them,
# to look at something else: there the cost is measured and any is accepted.
ABOUT_COST = ("test_guard", "test_collateral", "matrix", "test_request_forms")
REFUSAL = guard.refusal
# Only these ask what an MLP probe reads when it is trained to the end; others need some probe.
ABOUT_MLP = ("test_mlp_probe", "test_resample", "test_bake")
STEPS, PATIENCE = mlp.STEPS, mlp.PATIENCE


# measured by `make durations`: FILE::NAME of a test, all its cases together, or of a fixture
SLOW = frozenset((Path(__file__).parent / "slow.txt").read_text("utf-8").split())


def pytest_collection_modifyitems(items):
    for item in items:
        function = item.nodeid.rpartition("/")[2].partition("[")[0]
        named = item.fixturenames if isinstance(item, pytest.Function) else ()
        fixtures = {f"{item.path.name}::{name}" for name in named}
        if function in SLOW or fixtures & SLOW:
            item.add_marker("slow")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    about = any(name in item.nodeid for name in ABOUT_COST)
    guard.refusal = REFUSAL if about else (lambda *_: None)
    long = any(name in item.nodeid for name in ABOUT_MLP)
    mlp.STEPS, mlp.PATIENCE = (STEPS, PATIENCE) if long else (600, 150)


@pytest.fixture
def one_thread():
    """Small matrices and sorts are several times slower on many threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def trained(data, seed):
    """A DigitsCNN trained for eight epochs, in evaluation mode."""
    from unspan.zoo import DigitsCNN

    torch.manual_seed(seed)
    net = DigitsCNN()
    x, y = (torch.stack(list(part)) for part in zip(*data, strict=True))
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(8):
        for rows in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
    return net.eval()


@pytest.fixture(scope="session")
def digits():
    """The digits of scikit-learn, two thirds to train on."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    whole = TensorDataset(
        torch.tensor(raw.images, dtype=torch.float32)[:, None] / 16, torch.tensor(raw.target)
    )
    held = [i for i in range(len(whole)) if i % 3 == 0]
    return {
        "train": Subset(whole, [i for i in range(len(whole)) if i % 3]),
        "test": Subset(whole, held),
    }


@pytest.fixture(scope="session")
def digits_net(digits):
    return trained(digits["train"], seed=0)


@pytest.fixture(scope="session")
def digits_request(digits):
    """Forget the threes."""
    import unspan

    return unspan.Request.by_class(digits["train"], 3).with_test(digits["test"])
