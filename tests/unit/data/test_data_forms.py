"""Data in the forms people have: selectors, labels, samples, overlap, classes joined by name."""

import unicodedata
import warnings

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset

import unspan
from unspan.data.class_file import read_class_names
from unspan.data.class_matching import join
from unspan.data.labels import labels_of
from unspan.data.loading import batches
from unspan.data.overlap import copies_kept
from unspan.errors import DataError, UnspanError, UsageError
from unspan.extraction.statistics import of_features, without_samples
from unspan.run import Run

N, CLASSES = 200, 4
Y = torch.arange(N) % CLASSES
X = torch.randn(N, 6, generator=torch.Generator().manual_seed(0)) + 4 * nn.functional.one_hot(Y, 6)
TABLE = TensorDataset(X, Y)
NAMES = ["ant", "bee", "cow", "dog"]


class Given(Dataset):
    """Samples with what `make` gives for the row."""

    def __init__(self, make, count=N, **attributes):
        self.make, self.count = make, count
        for name, value in attributes.items():
            setattr(self, name, value)

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        return self.make(i)


def rows_of(subset):
    return [int(row) for row in subset.indices]


# ---- selectors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "selector",
    [
        3,
        [3],
        (3,),
        {3},
        range(3, 4),
        "3",
        np.int64(3),
        np.uint8(3),
        np.array(3),
        np.array([3]),
        torch.tensor(3),
        torch.tensor([3]),
        [np.int32(3)],
        [torch.tensor(3)],
        iter([3]),
    ],
    ids=lambda one: "an iterator" if hasattr(one, "__next__") else repr(one),
)
def test_class_selectors(selector):
    splits = unspan.Request.by_class(TABLE, selector)
    assert splits.classes == (3,) and rows_of(splits.forget) == list(range(3, N, 4))


@pytest.mark.parametrize("selector", [3.0, None, [], {}, b"3", [[3]], True, np.array([0.5]), 4, -1])
def test_what_selects_no_class(selector):
    with pytest.raises(UsageError):
        unspan.Request.by_class(TABLE, selector)


MASK = [row in (2, 5, 7) for row in range(N)]


@pytest.mark.parametrize(
    "selector",
    [
        [7, 2, 5],
        {2, 5, 7},
        np.array([2, 5, 7]),
        np.array([2, 5, 7], dtype=np.uint16),
        torch.tensor([2, 5, 7, 7]),
        [torch.tensor(2), np.int8(5), 7],
        MASK,
        np.array(MASK),
        torch.tensor(MASK),
    ],
    ids=lambda value: type(value).__name__,
)
def test_position_selectors(selector):
    splits = unspan.Request.by_index(TABLE, selector)
    assert rows_of(splits.forget) == [2, 5, 7]
    assert len(splits.retain) == N - 3


@pytest.mark.parametrize("selector", [[N], [-1], [1.5], ["1"], MASK[:-1], [True, 3], None])
def test_positions_outside_the_data(selector):
    with pytest.raises(UsageError):
        unspan.Request.by_index(TABLE, selector)


# ---- labels --------------------------------------------------------------------------------------

HOT = nn.functional.one_hot(Y, CLASSES)
GOOD = {
    "int": lambda i: (X[i], int(Y[i])),
    "numpy int": lambda i: (X[i], np.int64(Y[i])),
    "tensor [1]": lambda i: (X[i], Y[i : i + 1]),
    "whole float": lambda i: (X[i], float(Y[i])),
    "one-hot int": lambda i: (X[i], HOT[i]),
    "one-hot float": lambda i: (X[i], HOT[i].float()),
    "one-hot numpy": lambda i: (X[i], HOT[i].numpy()),
    "one-hot list": lambda i: (X[i], HOT[i].tolist()),
    "label": lambda i: {"pixel_values": X[i], "label": int(Y[i])},
    "labels": lambda i: {"pixel_values": X[i], "labels": Y[i]},
    "triple": lambda i: (X[i], torch.ones(6), int(Y[i])),
    "list sample": lambda i: [X[i], int(Y[i])],
    "numpy image": lambda i: (X[i].numpy(), int(Y[i])),
}


@pytest.mark.parametrize("kind", GOOD)
def test_labels_in_every_form(kind):
    splits = unspan.Request.by_class(Given(GOOD[kind]), 3)
    assert rows_of(splits.forget) == list(range(3, N, 4))
    batch = next(batches(splits.forget, Run(batch_size=8)))
    assert batch.labels.tolist() == [3] * 8


@pytest.mark.parametrize("attribute", ["classes", "class_names"])
def test_labels_that_are_names(attribute):
    data = Given(lambda i: (X[i], NAMES[Y[i]]), **{attribute: NAMES})
    for selector in ("dog", "DOG", 3):
        assert unspan.Request.by_class(data, selector).classes == (3,)
    bare = Given(lambda i: (X[i], NAMES[Y[i]]))
    assert unspan.Request.by_class(bare, "dog", class_names=NAMES).classes == (3,)
    with pytest.raises(DataError, match="class_names"):
        unspan.Request.by_class(bare, "dog")


@pytest.mark.parametrize(
    "label, says",
    [
        (lambda i: float(Y[i]) + 0.6, "whole number"),
        (lambda i: torch.tensor([0.2, 0.8, 0.0, 0.0]), "soft"),
        (lambda i: torch.tensor([1, 1, 0, 0]), "2 classes"),
        (lambda i: torch.zeros(4), "soft"),
        (lambda i: torch.zeros(4, 4), "not a class"),
        (lambda i: {"boxes": 3}, "not a class"),
        (lambda i: object(), "not a class"),
        (lambda i: float("nan"), "whole number"),
    ],
)
@pytest.mark.parametrize("count", [N, 1000])
def test_labels_that_are_no_class(label, says, count):
    data = Given(lambda i: (X[i % N], label(i % N)), count)
    with pytest.raises(DataError, match=says):
        unspan.Request.by_class(data, 3)


def test_names_in_an_attribute_are_no_labels():
    for labels in (NAMES, ["0", "1"], [str(i) for i in range(CLASSES)]):
        splits = unspan.Request.by_class(Given(GOOD["int"], labels=labels), 3)
        assert len(splits.forget) == N // 4


@pytest.mark.parametrize("count", [N, 2000])
@pytest.mark.parametrize("attribute", ["targets", "labels"])
def test_labels_are_those_that_samples_give(count, attribute):
    stored = [i % CLASSES for i in range(count)]
    data = Given(lambda i: (X[i % N], (stored[i] + 1) % CLASSES), count, **{attribute: stored})
    splits = unspan.Request.by_class(data, 3)
    assert rows_of(splits.forget) == list(range(2, count, 4))
    assert unspan.Request.by_class(Subset(data, range(100)), 3).classes == (3,)


def test_a_change_of_few_labels_is_found_when_they_are_read():
    stored = [i % CLASSES for i in range(2000)]
    data = Given(lambda i: (X[i % N], 0 if i == 1003 else stored[i]), 2000, targets=stored)
    splits = unspan.Request.by_class(data, 3)
    with pytest.raises(DataError, match="sample 1003"):
        list(batches(splits.forget, Run()))


def test_nested_subsets_keep_labels_and_names():
    data = Given(GOOD["int"], classes=NAMES)
    part = Subset(Subset(data, torch.arange(10, 110)), np.arange(50, 100))
    splits = unspan.Request.by_class(part, "dog")
    assert labels_of(splits.forget) == [3] * len(splits.forget)
    assert all(labels_of(part)[row] == 3 for row in rows_of(splits.forget))


# ---- data as people hand them over ---------------------------------------------------------------


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 8)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.fc(torch.relu(self.body(x)))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    model = Net()
    optimiser = torch.optim.Adam(model.parameters(), 2e-2)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(X), Y).backward()
        optimiser.step()
    return model.eval()


def table(**more):
    return datasets.Dataset.from_dict({"pixel_values": X.tolist(), "label": Y.tolist()} | more)


MINE = X[3::4]
FORGET = {
    "tensor": MINE,
    "array": MINE.numpy(),
    "pair of tensors": (MINE, Y[3::4]),
    "pair of arrays": (MINE.numpy(), Y[3::4].numpy()),
    "pair with a list": (MINE, Y[3::4].tolist()),
    "one-hot pair": (MINE.numpy(), HOT[3::4].numpy()),
    "subset of one-hot": Subset(Given(GOOD["one-hot int"]), range(3, N, 4)),
    "loader of dicts": DataLoader(Subset(Given(GOOD["labels"]), range(3, N, 4)), batch_size=8),
    "loader of one-hot": DataLoader(Subset(Given(GOOD["one-hot int"]), range(3, N, 4))),
    "table": table().select(range(3, N, 4)),
    "table of torch": table().with_format("torch").select(range(3, N, 4)),
    "table of numpy": table().with_format("numpy").select(range(3, N, 4)),
    "table with ids": table(id=list(range(N))).select(range(3, N, 4)),
}


@pytest.mark.parametrize("kind", FORGET)
def test_forget_data_in_every_form(net, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = unspan.erase(net, FORGET[kind], unspan.ESC(rank=1), Run(batch_size=8))
    assert done.receipt["status"] == "erased"
    assert done.receipt["method"]["fit"]["samples"] == N // 4


@pytest.mark.parametrize("form", [None, "torch", "numpy"])
def test_a_table_as_the_data_of_a_request(net, form):
    data = table().with_format(form)
    splits = unspan.Request.by_class(data, 3).with_test(data.select(range(100)))
    assert len(splits.forget) == N // 4 and len(splits.test_forget) == 25
    assert unspan.erase(net, splits, unspan.ESC(rank=1)).receipt["request"]["classes"] == [3]


def test_a_table_of_named_labels():
    features = datasets.Features(
        {
            "pixel_values": datasets.Sequence(datasets.Value("float32")),
            "label": datasets.ClassLabel(names=NAMES),
        }
    )
    data = table().cast(features)
    assert unspan.Request.by_class(data, "dog").classes == (3,)
    model_order = NAMES[::-1]
    splits = unspan.Request.by_class(data, "dog", class_names=model_order)
    assert splits.classes == (0,) and labels_of(splits.forget) == [0] * 50


def test_a_table_of_images_needs_a_transform():
    images = [Image.fromarray(np.full((4, 4, 3), i, dtype=np.uint8)) for i in range(8)]
    data = datasets.Dataset.from_dict(
        {"image": images, "label": [i % 2 for i in range(8)]},
        features=datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")}),
    )
    with pytest.raises(UsageError, match="with_transform"):
        unspan.Request.by_class(data, 1)

    def pixels(rows):
        made = [torch.tensor(np.array(one)).permute(2, 0, 1) / 255 for one in rows["image"]]
        return {"pixel_values": made, "label": rows["label"]}

    splits = unspan.Request.by_class(data.with_transform(pixels), 1)
    assert next(batches(splits.forget, Run(batch_size=4))).inputs.shape == (4, 3, 4, 4)


@pytest.mark.parametrize("data", ["photos/", {"train": TABLE, "test": TABLE}])
def test_what_is_no_data(data):
    with pytest.raises(UsageError):
        unspan.Request.by_class(data, 3)


def test_images_of_mixed_size_are_refused_by_name():
    data = Given(lambda i: (torch.zeros(3, 8, 8 + (i == 5)), 0), 8)
    with pytest.raises(DataError, match="sample 5 .* 3 x 8 x 9"):
        list(batches(data, Run()))


def test_seed_beyond_the_generator():
    with pytest.raises(UsageError, match="seed"):
        Run(seed=2**63)


@pytest.mark.parametrize("seed", [np.int64(3), np.uint8(3)])
def test_numbers_of_a_run_may_be_numpys(seed):
    assert Run(seed=seed).seed == 3


@pytest.mark.parametrize("seed", [True, -1, 1.0, "3"])
def test_numbers_of_a_run_are_whole(seed):
    with pytest.raises(UsageError, match="seed"):
        Run(seed=seed)


def test_empty_data():
    with pytest.raises(DataError, match="no samples"):
        unspan.Request.by_class(Given(GOOD["int"], 0), 3)


# ---- overlap -------------------------------------------------------------------------------------

PART = Subset(TABLE, list(range(100)))
TENSOR_TABLE = table().with_format("torch")
PAIRS = {
    "lists": (Subset(TABLE, list(range(50))), Subset(TABLE, list(range(20, 90)))),
    "tensors": (Subset(TABLE, torch.arange(50)), Subset(TABLE, torch.arange(20, 90))),
    "arrays": (Subset(TABLE, np.arange(50)), Subset(TABLE, np.arange(20, 90))),
    "subset of a subset": (Subset(PART, list(range(50))), Subset(TABLE, list(range(20, 90)))),
    "negative indices": (Subset(TABLE, range(50)), Subset(TABLE, list(range(20 - N, 90 - N)))),
    "whole data": (Subset(TABLE, range(30)), TABLE),
    "slices": (TensorDataset(X[:50], Y[:50]), TensorDataset(X[20:90], Y[20:90])),
    "bare tensors": (X[:50], X[20:90]),
    "pairs": ((X[:50].numpy(), Y[:50]), (X[20:90].numpy(), Y[20:90])),
    "joined": (Subset(TABLE, range(30)), ConcatDataset([Subset(TABLE, range(30, 60)), PART])),
    "samples in code": (Subset(d := Given(GOOD["int"]), range(50)), Subset(d, range(20, 90))),
    "loaders": (DataLoader(Subset(TABLE, range(50))), DataLoader(Subset(TABLE, range(20, 90)))),
    "tables": (TENSOR_TABLE.select(range(50)), TENSOR_TABLE.select(range(20, 90))),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_samples_in_forget_and_retain_are_refused(kind):
    forget, retain = PAIRS[kind]
    with pytest.raises(DataError, match="share 30 samples"):
        unspan.Request(forget=forget, retain=retain)


def test_parts_that_share_nothing():
    unspan.Request(forget=Subset(PART, range(50)), retain=Subset(TABLE, torch.arange(50, 100)))


def test_copies_that_are_kept_are_counted(net):
    twice = TensorDataset(torch.cat([X, X[3:4], X[7:8]]), torch.cat([Y, Y[:2]]))
    splits = unspan.Request.by_index(twice, range(3, N, 4))
    assert copies_kept(splits.forget, splits.retain) == 2
    done = unspan.erase(net, splits, unspan.ESC(rank=1))
    assert any("2 retained samples are exact copies" in one for one in done.warnings)


def test_test_samples_that_are_trained_on_are_said(net):
    splits = unspan.Request.by_class(TABLE, 3).with_test(Subset(TABLE, range(40)))
    done = unspan.erase(net, splits, unspan.ESC(rank=1))
    assert any("40 test samples" in one for one in done.warnings)


# ---- classes are joined by name ------------------------------------------------------------------


@pytest.mark.parametrize(
    "own, known, index",
    [
        (["cow"], NAMES, [2]),
        (["Cow", "DOG"], NAMES, [2, 3]),
        (["polar bear"], ["Polar_Bear", "bear"], [0]),
        (["polar-bear", "bear"], ["bear", "polar bear"], [1, 0]),
        ([unicodedata.normalize("NFD", "Bébé")], ["enfant", "bébé"], [1]),
        (["straße"], ["STRASSE", "weg"], [0]),
        (["tench"], ["tench, Tinca tinca", "goldfish, Carassius auratus"], [0]),
        (["cat", "Cat"], ["Cat", "cat"], [1, 0]),
        (NAMES, NAMES[::-1], [3, 2, 1, 0]),
        (["crane", "crane"], ["crane", "crane"], [0, 1]),
        (["3"], ["a", "3"], [1]),
    ],
)
def test_joined_by_name(own, known, index):
    joined = join(own, known, len(known))
    assert joined.index == index and joined.how == "name"


@pytest.mark.parametrize(
    "own, known, outputs",
    [
        (["deer"], None, 10),
        ([f"c{i}" for i in range(10)], None, 1000),
        (["cow", "owl"], NAMES, 4),
        (["cow", "Cow"], NAMES, 4),
        (["crane"], ["crane", "crane"], 2),
        (NAMES, NAMES[:3], 4),
        (["a", "b", "c"], None, 1),
        (["-1"], ["0", "1"], 2),
    ],
)
def test_classes_that_cannot_be_joined(own, known, outputs):
    with pytest.raises(UsageError):
        join(own, known, outputs)


def test_a_model_with_one_score_is_not_said_to_need_class_names():
    with pytest.raises(UsageError, match="one score a sample"):
        join(["a", "b", "c"], None, 1)


@pytest.mark.parametrize("own, outputs", [(NAMES, 4), (["no", "yes"], 1), (NAMES, None)])
def test_joined_by_position_where_the_counts_agree(own, outputs):
    joined = join(own, None, outputs)
    assert joined.index == list(range(len(own))) and joined.how == "position"


def test_fewer_classes_than_outputs_are_refused_in_python(net):
    data = Given(lambda i: (X[i], int(Y[i]) % 2), classes=["deer", "dog"])
    splits = unspan.Request.by_class(data, "deer")
    with pytest.raises(UsageError, match="2 class names .* 4 outputs"):
        unspan.erase(net, splits, unspan.ESC(rank=1))


def test_names_of_a_transformers_model_are_compared(net):
    named = Net().eval()
    named.load_state_dict(net.state_dict())
    named.class_names = NAMES[::-1]
    splits = unspan.Request.by_class(Given(GOOD["int"], classes=NAMES), "ant")
    with pytest.raises(UsageError, match="'ant' class 0, and the model's .* is 3"):
        unspan.erase(named, splits, unspan.ESC(rank=1))


def test_test_data_are_joined_to_the_request():
    train = Given(GOOD["int"], classes=NAMES)
    test = Given(lambda i: (X[i], CLASSES - 1 - int(Y[i])), classes=NAMES[::-1])
    splits = unspan.Request.by_class(train, "dog").with_test(test)
    assert rows_of(splits.test_forget) == list(range(3, N, 4))


def test_names_file_that_is_missing(tmp_path):
    for path in (tmp_path / "gone", tmp_path, tmp_path / ("y" * 5000)):
        with pytest.raises(UnspanError, match="--classes"):
            read_class_names(path)


# ---- statistics without the samples of a request -------------------------------------------------


@pytest.mark.parametrize("gone", [slice(0, 100, 5), slice(0, 100), slice(0, 400, 10)])
def test_statistics_less_samples_are_those_of_the_rest(gone):
    z = torch.randn(500, 40, generator=torch.Generator().manual_seed(1))
    y = torch.arange(500) // 100
    z += 9 * nn.functional.one_hot(y, 40)
    rest = torch.ones(500, dtype=torch.bool)
    rest[gone] = False
    less = without_samples(of_features(z, y, None), z[gone].double(), None)
    wanted = of_features(z[rest], y[rest], None)
    assert less.labels.tolist() == wanted.labels.tolist()
    assert less.count.tolist() == wanted.count.tolist()
    torch.testing.assert_close(less.mean, wanted.mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(less.covariance, wanted.covariance, rtol=1e-3, atol=1e-3)


def test_statistics_of_other_data_stay_as_they_are():
    z = torch.randn(200, 3, generator=torch.Generator().manual_seed(2))
    found = of_features(z, torch.arange(200) % 2, None)
    away = found.mean[0] + 1e3 * torch.randn(10, 3, dtype=torch.float64)
    assert torch.equal(without_samples(found, away, None).mean, found.mean)


# ---- a model with one output ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def yes_or_no():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
    optimiser = torch.optim.Adam(model.parameters(), 2e-2)
    for _ in range(80):
        optimiser.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(model(X)[:, 0], (Y % 2).float())
        loss.backward()
        optimiser.step()
    return model.eval()


@pytest.mark.parametrize("selector", ["no", "yes", 0, 1])
def test_classes_of_a_model_with_one_output(yes_or_no, selector):
    data = Given(lambda i: (X[i], int(Y[i]) % 2), classes=["no", "yes"])
    splits = unspan.Request.by_class(data, selector)
    assert splits.classes == (int(selector in ("yes", 1)),)
    with pytest.raises(UnspanError, match="one score a sample.*2 classes"):
        unspan.erase(yes_or_no, splits, unspan.ESC(rank=1))


def test_a_model_with_one_output_and_samples_alone(yes_or_no):
    done = unspan.erase(yes_or_no, X[Y % 2 == 1], unspan.ESC(rank=1), check_labels=False)
    assert done.receipt["request"]["classes"] == []
