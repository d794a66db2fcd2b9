"""Labels and samples as datasets of other libraries give them: subclasses that change samples,
target transforms, loaders, tables with transforms, texts.
"""

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset

import unspan
from unspan.data.class_matching import join
from unspan.data.class_names import names_of
from unspan.data.labels import labels_of
from unspan.data.loading import batches
from unspan.data.opening import open_data
from unspan.data.preprocess import TextPreprocess
from unspan.data.request import Request
from unspan.data.sample_forms import digest_of, split_sample
from unspan.errors import DataError, UsageError
from unspan.methods import by_name
from unspan.run import Run

N, CLASSES = 60, 4
X = torch.randn(N, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(N) % CLASSES
DATA = TensorDataset(X, Y)
ONE_HOT = nn.functional.one_hot(Y, CLASSES)
NAMES = ["dog", "bird", "deer", "cat"]
OF_TWO = [i for i in range(N) if i % CLASSES == 2]


class Samples(Dataset):
    """Samples made by a function of the row; attributes as given."""

    def __init__(self, make, count=N, **attributes):
        self.make, self.count = make, count
        vars(self).update(attributes)

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        if not 0 <= i < self.count:
            raise IndexError(i)
        return self.make(i)


def forgotten(splits):
    """Rows of the data that are to be forgotten."""
    return [int(row) for row in splits.forget.indices]


def read(data):
    """Labels of all samples as a run reads them."""
    given = batches(data, Run(batch_size=16, max_samples=N))
    return torch.cat([batch.labels for batch in given]).tolist()


class Changing(Subset):
    """A subset that gives other labels than its dataset."""

    def __getitem__(self, i):
        value, label = super().__getitem__(i)
        return value, (label + 1) % CLASSES

    def __getitems__(self, indices):
        return [self[i] for i in indices]


class Shifted(TensorDataset):
    """A tensor dataset that gives other labels than its tensors."""

    def __getitem__(self, i):
        value, label = super().__getitem__(i)
        return value, (label + 1) % CLASSES


@pytest.mark.parametrize(
    "data",
    [Changing(DATA, range(N)), Subset(Changing(DATA, range(N)), range(N)), Shifted(X, Y),
     ConcatDataset([Shifted(X[:30], Y[:30]), Shifted(X[30:], Y[30:])])],
    ids=["subset", "subset of it", "tensor dataset", "concatenated"],
)  # fmt: skip
def test_subclasses_that_change_samples_are_asked(data):
    expected = [(label + 1) % CLASSES for label in Y.tolist()]
    assert labels_of(data) == expected == read(data)


@pytest.mark.parametrize("merges", [False, True])
def test_names_follow_a_target_transform(merges):
    transform = (lambda label: label // 2) if merges else (lambda label: (label + 1) % CLASSES)
    data = Samples(
        lambda i: (X[i], transform(int(Y[i]))),
        targets=Y.tolist(), classes=NAMES, target_transform=transform,
    )  # fmt: skip
    if merges:
        assert names_of(data) is None
        return
    splits = Request.by_class(data, "deer")
    assert splits.classes == (3,) and forgotten(splits) == OF_TWO


def test_stored_labels_spare_the_reading_of_large_data():
    reads = []

    def make(i):
        reads.append(i)
        return X[i % N], int(Y[i % N])

    data = Samples(make, 100 * N, targets=[int(Y[i % N]) for i in range(100 * N)])
    assert len(labels_of(data)) == 100 * N and len(reads) < 600


LOADED = {
    "one-hot lists": lambda i: ONE_HOT[i].tolist(),
    "one-hot floats": lambda i: ONE_HOT[i].float(),
    "names": lambda i: NAMES[Y[i]],
    "one-element arrays": lambda i: np.array([Y[i]]),
    "whole floats": lambda i: float(Y[i]),
}


@pytest.mark.parametrize("form", LOADED)
def test_labels_of_a_loader(form):
    data = Samples(lambda i: (X[i], LOADED[form](i)), classes=NAMES)
    assert read(DataLoader(data, batch_size=7)) == Y.tolist()


class Mapped(dict):
    """A batch that is a mapping of a class of its own, as tokenizers give it."""


def test_batches_that_are_mappings():
    given = [Mapped(x=X[:8], labels=Y[:8]), Mapped(x=X[8:16], labels=ONE_HOT[8:16])]
    found = [batch.labels for batch in batches(iter(given), Run(max_samples=12))]
    assert torch.cat(found).tolist() == Y[:12].tolist()


def test_two_parts_that_could_be_the_label_are_refused():
    indexed = Samples(lambda i: (X[i], int(Y[i]), i))
    for data in (indexed, DataLoader(indexed, batch_size=16)):
        with pytest.raises(UsageError, match="could be the label"):
            read(data)
    with pytest.raises(UsageError, match="differ"):
        split_sample({"x": X[0], "label": 1, "labels": 2})


def test_texts_are_made_tokens_batch_by_batch(tmp_path):
    def tokens(texts, **_):
        return {"input_ids": torch.tensor([[len(text)] for text in texts])}

    rows = {"text": ["a", "bb", "ccc"], "label": [0, 1, 0]}
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "texts.parquet")
    data = open_data(str(tmp_path), transform=TextPreprocess(tokens))["train"]
    batch = next(batches(data, Run(batch_size=3)))
    assert batch.inputs["input_ids"].tolist() == [[1], [2], [3]]
    with pytest.raises(DataError, match="is text"):
        next(batches(open_data(str(tmp_path))["train"], Run(batch_size=3)))


@pytest.mark.parametrize(
    "make",
    [lambda s: torch.arange(2000) + s, lambda s: np.arange(2000) + s,
     lambda s: Image.new("L", (4, 4), s), lambda s: {"a": torch.tensor(s)}],
    ids=["tensor", "array", "image", "dict"],
)  # fmt: skip
def test_digests_are_of_content(make):
    assert digest_of(make(1)) == digest_of(make(1)) != digest_of(make(2))


def table(kind):
    """A `datasets.Dataset` in one of the ways it is used."""
    rows = {"pixel_values": X.tolist(), "label": Y.tolist(), "idx": list(range(N)), "t": ["a"] * N}
    if kind == "one-hot":
        return datasets.Dataset.from_dict(rows | {"label": ONE_HOT.tolist()})
    made = datasets.Dataset.from_dict(rows)
    if kind == "transform":
        return made.with_transform(
            lambda some: {"x": torch.tensor(some["pixel_values"]), "labels": some["label"]}
        )
    return made if kind == "plain" else made.with_format(kind)


@pytest.mark.parametrize("kind", ["plain", "torch", "arrow", "pandas", "transform", "one-hot"])
def test_tables_of_the_datasets_library(kind):
    given = table(kind)
    splits = Request.by_class(given, 2).with_test(given)
    assert forgotten(splits) == OF_TWO and len(splits.test_forget) == len(OF_TWO)
    first = next(batches(Request(forget=given).forget, Run(batch_size=16)))
    assert torch.allclose(torch.as_tensor(first.inputs).float(), X[:16])
    assert first.labels.tolist() == Y[:16].tolist()


PART = Subset(DATA, list(range(50)))
SHARED = {
    "negative rows": (Subset(DATA, [-N + i for i in range(20)]), Subset(DATA, range(10, N))),
    "the data themselves": (Subset(DATA, range(10)), DATA),
    "slice and subset": (TensorDataset(X[:20], Y[:20]), Subset(DATA, range(10, N))),
    "pairs": ((X[:20], Y[:20]), (X[10:].numpy(), Y[10:].numpy())),
    "joined": (Subset(DATA, range(20)), ConcatDataset([Subset(DATA, range(10, 30)), PART])),
    "tables": (table("torch").select(range(20)), table("torch").select(range(10, N))),
    "table and tensors": (table("torch").select(range(20)), X[10:]),
    "lists of samples": ([(x, 0) for x in X[:20]], [(x, 0) for x in X[10:]]),
}


@pytest.mark.parametrize("case", SHARED)
def test_forget_and_retain_sets_that_share_samples(case):
    forget, retain = SHARED[case]
    with pytest.raises(DataError, match=f"share {20 if case == 'joined' else 10} samples"):
        Request(forget=forget, retain=retain)


class Named(nn.Sequential):
    """A network that says what its outputs are called."""

    def __init__(self, names):
        super().__init__(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, CLASSES))
        self.class_names = names


@pytest.mark.parametrize(
    "model, classes, says",
    [
        (Named(NAMES), ["deer"], "class 0, and the model's class of that name is 2"),
        (Named(NAMES), ["horse"], "not among"),
        (Named(None), ["deer"], "1 class name .*4 outputs"),
        (Named(NAMES), sorted(NAMES), "class 0, and the model's class of that name is 1"),
    ],
)
@pytest.mark.parametrize("method", [unspan.ESC(rank=1), by_name("neggrad")()], ids=["esc", "ng"])
def test_a_model_with_other_classes_is_refused(model, classes, says, method):
    data = Samples(lambda i: (X[i], int(Y[i]) % len(classes)), classes=classes)
    with pytest.raises(UsageError, match=says):
        unspan.erase(model.eval(), Request.by_class(data, classes[0]), method)


def test_labels_beyond_the_outputs_are_refused():
    with pytest.raises(DataError, match="label 5, and the model has 4 outputs"):
        unspan.erase(Named(None), Request.by_class(TensorDataset(X, Y + 2), 3), unspan.ESC(rank=1))


@pytest.mark.parametrize(
    "own, known, outputs, index, how",
    [
        (["3"], None, 10, [3], "number"),
        (["0", "1"], ["cat", "dog"], 2, [0, 1], "number"),
        ([str(i) for i in range(12)], None, 12, list(range(12)), "number"),
        (["1", "2", "3"], None, 3, [0, 1, 2], "position"),
        (["n01440764", "n01443537"], ["tench", "goldfish"], 2, [0, 1], "position"),
    ],
)
def test_class_names_that_are_numbers(own, known, outputs, index, how):
    found = join(own, known, outputs)
    assert (found.index, found.how) == (index, how)


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_that_sort_as_text_are_refused(first):
    own = sorted(str(i) for i in range(first, first + 12))
    with pytest.raises(UsageError, match="position and number disagree"):
        join(own, None, 12)


def test_a_sample_that_is_none_is_named():
    class Broken(Dataset):
        def __len__(self):
            return 6

        def __getitem__(self, row):
            return None if row == 4 else (torch.zeros(3), row % 2)

    with pytest.raises(DataError, match="Sample 4 is None"):
        labels_of(Broken())
