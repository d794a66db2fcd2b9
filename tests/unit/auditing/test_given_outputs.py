"""Audits of outputs alone: the same numbers as with the models, and every fault named."""

import json

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset
from typer.testing import CliRunner

import unspan
from unspan.audit_record.vocabulary import ReferenceKind, Topic, Verdict
from unspan.auditing.given_outputs import case_of_outputs
from unspan.cli import app, main
from unspan.errors import DataError, UsageError
from unspan.report import first
from unspan.run import Run
from unspan.zoo import DigitsCNN

GIVEN = ("features", "scores")


def outputs(seed=0, n=150, hidden=False, classes=3):
    """Arrays of a made-up model whose scores name the class, or hide class 0."""
    found = {}
    for part, count in (("fit", n), ("test", n // 2)):
        generator = torch.Generator().manual_seed(100 + count)
        labels = torch.arange(count) % classes
        noise = torch.Generator().manual_seed(seed)
        features = torch.randn(count, 6, generator=generator) + 2 * torch.eye(6)[labels]
        features = features + 0.1 * torch.randn(count, 6, generator=noise)
        if hidden:
            moved = 2 * torch.eye(6)[torch.randint(1, classes, (count,), generator=noise)]
            features = torch.where(
                (labels == 0)[:, None], features - 2 * torch.eye(6)[0] + moved, features
            )
        found |= {
            f"{part}_features": features.numpy(),
            f"{part}_scores": features[:, :classes].numpy(),
            f"{part}_labels": labels.numpy(),
        }
    return found


def written(folder, **arrays):
    paths = {}
    for name, one in arrays.items():
        paths[name] = folder / f"{name}.npz"
        np.savez(paths[name], **one)
    return paths


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return written(
        tmp_path_factory.mktemp("files"),
        before=outputs(),
        after=outputs(1, hidden=True),
        **{f"retrained{i}": outputs(10 + i, hidden=True) for i in range(2)},
    )


def audited(files, **given):
    references = [path for name, path in files.items() if name.startswith("retrained")]
    return unspan.audit_outputs(
        files["before"],
        files["after"],
        **{"references": references, "classes": [0], "pictures": False} | given,
    )


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory):
    """The audit of the erased model, for several tests."""
    return audited(files, cache=str(tmp_path_factory.mktemp("cache")))


def test_the_page_names_files_of_outputs_as_such(whole, files):
    about = first.identity(whole.record)
    assert [one.name for one in about[1:3]] == ["File of outputs", "SHA-256 of the file"]
    assert about[1].value == files["after"].name
    page = whole.to_markdown()
    assert "Model file" not in page and "outputs of the audited model" in page
    assert "bytes of the tensors of" not in page  # the hash is that of the file


def test_outputs_of_an_erased_and_of_an_untouched_model(files, whole, tmp_path):
    found = whole
    assert found.verdict in (Verdict.LIKE_RETRAINED, Verdict.NOT_MEASURABLE, Verdict.INCONCLUSIVE)
    assert found.trusted and found.record.reference.count == 2
    untouched = audited(files | {"after": files["before"]}, cache=tmp_path / "cache")
    assert untouched.verdict is Verdict.RETAINED
    left_out = {topic for one in found.record.not_run for topic in one.topics}
    assert {Topic.SWEEP, Topic.LEAKAGE, Topic.STABILITY} <= left_out
    assert found.to_html() and found.to_markdown()


def test_without_references_only_absolute_bounds_decide(files, tmp_path):
    found = audited(files, references=[], cache=tmp_path / "cache")
    assert found.record.reference.kind is ReferenceKind.NONE
    assert found.verdict is not Verdict.LIKE_RETRAINED
    seen = audited(files | {"after": files["before"]}, references=[], cache=tmp_path / "cache")
    assert seen.verdict is Verdict.RETAINED


def test_scores_alone_are_enough(files, tmp_path):
    """What an API answers."""
    answers = {}
    for name in files:
        stored = np.load(files[name])
        answers[name] = {key: stored[key] for key in stored if not key.endswith("features")}
    found = audited(written(tmp_path, **answers), cache=tmp_path / "cache")
    assert {one.identity.kind.value for one in found.record.attacks} >= {
        "own_answer",
        "output_signature",
        "linear_probe",
    }


def test_labels_and_marks_are_needed_once(files, whole, tmp_path):
    lean = {}
    for name in files:
        stored = np.load(files[name])
        lean[name] = {key: stored[key] for key in stored}
        if name != "before":
            del lean[name]["fit_labels"], lean[name]["test_labels"]
    again = audited(written(tmp_path, **lean), cache=tmp_path / "cache")
    assert [one.erased for one in again.record.attacks] == [
        one.erased for one in whole.record.attacks
    ]


def test_marked_samples_are_a_request_of_samples(files, tmp_path):
    marked = {}
    for name in files:
        stored = np.load(files[name])
        marked[name] = {key: stored[key] for key in stored}
        for part in ("fit", "test"):
            marked[name][f"{part}_forget"] = np.arange(len(stored[f"{part}_labels"])) < 30
    found = audited(written(tmp_path, **marked), classes=[], cache=tmp_path / "cache")
    assert found.record.request.kind == "samples" and found.record.request.test_samples == 30


def test_the_same_numbers_as_with_the_models(tmp_path):
    torch.manual_seed(0)
    models = {name: DigitsCNN().eval() for name in ("before", "after", "retrained0")}
    x, labels = torch.rand(150, 1, 8, 8), torch.arange(150) % 5
    fit, test = (TensorDataset(x[rows], labels[rows]) for rows in (slice(100), slice(100, 150)))
    request = unspan.Request.by_class(fit, 3).with_test(test)
    by_models = unspan.audit(
        models["before"],
        models["after"],
        request,
        references=[models["retrained0"]],
        pictures=False,
        cache=tmp_path / "cache",
    )
    files = {}
    for name, model in models.items():
        files[name] = {}
        for part, data in (("fit", fit), ("test", test)):
            given, marks = data.tensors
            with torch.no_grad():
                files[name][f"{part}_scores"] = model(given).numpy()
            files[name][f"{part}_features"] = unspan.features(model, given).numpy()
            files[name][f"{part}_labels"] = marks.numpy()
    paths = written(tmp_path, **files)
    alone = audited(paths, classes=[3], cache=tmp_path / "cache")
    known = {one.identity: one for one in alone.record.attacks}
    views = [one for one in by_models.record.attacks if one.identity not in known]
    assert {"views" in one.attack for one in views} == {True}
    for one in by_models.record.attacks:
        if one.identity in known:
            assert known[one.identity].erased == pytest.approx(one.erased, abs=1e-6), one.attack
            assert known[one.identity].reference == pytest.approx(one.reference, abs=1e-6)


def softmax(scores):
    return np.exp(scores) / np.exp(scores).sum(1, keepdims=True)


FAULTS = {
    "no labels": (lambda a: a.pop("fit_labels"), UsageError, "fit_labels"),
    "no features and no scores": (
        lambda a: [a.pop(f"{part}_{what}") for part in ("fit", "test") for what in GIVEN],
        UsageError,
        "give fit_features, fit_scores",
    ),
    "scores in one part": (
        lambda a: a.pop("test_scores"),
        UsageError,
        "has fit_scores, but no test_scores",
    ),
    "features in one part": (
        lambda a: a.pop("fit_features"),
        UsageError,
        "has test_features, but no fit_features",
    ),
    "features of another layer in one part": (
        lambda a: a.update(test_features=a["test_features"][:, :4]),
        DataError,
        r"fit_features has shape \[150, 6\], test_features \[75, 4\]",
    ),
    "another number of rows": (
        lambda a: a.update(test_scores=a["test_scores"][:-1]),
        DataError,
        "one row a sample",
    ),
    "no rows": (
        lambda a: a.update({name: one[:0] for name, one in a.items()}),
        DataError,
        "holds no samples",
    ),
    "a single number": (lambda a: a.update(fit_labels=np.int64(3)), DataError, "no samples"),
    "NaN": (
        lambda a: a.update(fit_features=np.full_like(a["fit_features"], np.nan)),
        DataError,
        "NaN",
    ),
    "numbers beyond float32": (
        lambda a: a.update(fit_features=a["fit_features"].astype(float) * 1e300),
        DataError,
        "beyond float32",
    ),
    "complex numbers": (
        lambda a: a.update(fit_scores=a["fit_scores"].astype(complex)),
        DataError,
        "array of complex128; give real numbers",
    ),
    "probabilities": (
        lambda a: a.update(test_scores=softmax(a["test_scores"]).astype(np.float16)),
        DataError,
        "test_scores holds probabilities",
    ),
    "labels from one": (
        lambda a: a.update(fit_labels=a["fit_labels"] + 1),
        DataError,
        "fit_labels holds 3, but fit_scores has 3 columns",
    ),
    "negative labels": (
        lambda a: a.update(fit_labels=a["fit_labels"] - 1),
        DataError,
        "fit_labels holds -1; give whole numbers from 0",
    ),
    "halves as labels": (
        lambda a: a.update(fit_labels=a["fit_labels"] + 0.5),
        DataError,
        "fit_labels holds 0.5; give whole numbers from 0",
    ),
    "names as labels": (
        lambda a: a.update(fit_labels=np.array(["cat", "dog", "owl"])[a["fit_labels"]]),
        DataError,
        "fit_labels is an array of <U3; give whole numbers from 0",
    ),
    "marks that are no marks": (
        lambda a: a.update(fit_forget=a["fit_labels"]),
        DataError,
        "give true or false for each sample",
    ),
    "a name that no audit reads": (
        lambda a: a.update(test_score=a.pop("test_scores")),
        UsageError,
        "has the array test_score, which no audit reads",
    ),
    "nothing to forget": (
        lambda a: a.update(test_labels=np.ones_like(a["test_labels"])),
        DataError,
        "0 of 75 samples.*Labels in test: 1",
    ),
    "one dimension": (
        lambda a: a.update(fit_scores=a["fit_scores"][:, 0], test_scores=a["test_scores"][:, 0]),
        DataError,
        "fit_scores",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_a_file_is_named(fault, tmp_path):
    change, error, said = FAULTS[fault]
    arrays = outputs()
    change(arrays)
    files = written(tmp_path, before=arrays, after=arrays)
    with pytest.raises(error, match=said):
        audited(files, cache=tmp_path / "cache")


OTHERS = {
    "no scores": (
        lambda a: (a.pop("fit_scores"), a.pop("test_scores")),
        UsageError,
        "lacks fit_scores, which",
    ),
    "fewer scores": (
        lambda a: a.update(fit_scores=a["fit_scores"][:, :2], test_scores=a["test_scores"][:, :2]),
        DataError,
        r"fit_scores has shape \[150, 2\], and \[150, 3\] in",
    ),
    "fewer rows": (
        lambda a: a.update(test_features=a["test_features"][1:], test_scores=a["test_scores"][1:]),
        DataError,
        r"has shape \[74, ",
    ),
    "marks of its own": (
        lambda a: a.update(test_forget=a["test_labels"] == 0),
        UsageError,
        "labels and marks belong into the first file",
    ),
}


@pytest.mark.parametrize("place", ["after", "retrained0"])
@pytest.mark.parametrize("fault", OTHERS)
def test_a_file_that_does_not_fit_the_first_is_refused_with_its_name(fault, place, tmp_path):
    change, error, said = OTHERS[fault]
    arrays = {"before": outputs(), "after": outputs(1), "retrained0": outputs(2)}
    change(arrays[place])
    files = written(tmp_path, **arrays)
    with pytest.raises(error, match=f"{place}.npz.*{said}"):
        audited(files, cache=tmp_path / "cache")


def test_files_of_outputs_tell_other_samples_by_labels_and_marks(tmp_path):
    """Empty hashes of the data made audits of digits and of wine the same data."""

    def told(name, n, classes=(0,)):
        path = written(tmp_path, **{name: outputs(n=n)})[name]
        other = written(tmp_path, **{f"{name}-after": outputs(1, n=n)})[f"{name}-after"]
        case = case_of_outputs(path, other, [], Run(), classes, None)
        return case.hashes.fit_data, case.hashes.test_data

    first = told("first", 150)
    assert first == told("second", 150) and all(len(one) == 64 for one in first)
    for others in (told("third", 120), told("fourth", 150, (1,))):
        assert first[0] != others[0] and first[1] != others[1]


def test_a_handful_of_samples_is_refused_at_once(tmp_path):
    files = written(tmp_path, before=outputs(n=12), after=outputs(1, n=12))
    with pytest.raises(DataError, match="before.npz: the attacker is given 12 samples"):
        audited(files, cache=tmp_path / "cache")


def test_features_of_another_width_and_other_number_formats_are_read(tmp_path):
    """A retrained network may have another layer; a file may hold float16 or big-endian numbers."""
    arrays = {"before": outputs(), "after": outputs(1, hidden=True)}
    for name in ("fit_features", "test_features"):
        arrays["after"][name] = arrays["after"][name][:, :5].astype(np.float16)
    for name in ("fit_scores", "test_scores"):
        arrays["before"][name] = arrays["before"][name].astype(">f8")
    files = written(tmp_path, **arrays)
    case = case_of_outputs(files["before"], files["after"], [], Run(), (0,), None)
    assert case.fit["after"].features.shape == (150, 5)
    assert {one.features.dtype for one in case.fit.values()} == {torch.float32}
    before = case.test["before"]
    assert torch.equal(before.logits, before.features[:, :3])


def test_files_of_other_samples_are_refused(tmp_path):
    other = outputs(1)
    other["test_labels"] = other["test_labels"][::-1].copy()
    with pytest.raises(DataError, match="test_labels differs"):
        audited(written(tmp_path, before=outputs(), after=other), cache=tmp_path / "cache")


@pytest.mark.parametrize("same", ["before", "after", "retrained0"])
def test_a_reference_is_a_model_of_its_own(same, tmp_path):
    """Who is compared with himself differs from nothing, whatever he knows."""
    arrays = {"before": outputs(), "after": outputs(1), "retrained0": outputs(2)}
    files = written(tmp_path, **arrays, retrained1=arrays[same])
    with pytest.raises(UsageError, match=rf"retrained1.npz and .*{same}.npz are the same model"):
        audited(files, cache=tmp_path / "cache")


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 broken"])
def test_what_is_no_file_of_outputs_is_refused(content, tmp_path):
    (tmp_path / "before.npz").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as outputs: it is no .npz file") as found:
        unspan.audit_outputs(tmp_path / "before.npz", tmp_path / "before.npz", classes=[0])
    assert "pickle" not in str(found.value) and ".." not in str(found.value)


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("", DataError, "cannot be read as outputs"),
        ("none.npz", UsageError, "none.npz does not exist"),
    ],
)
def test_a_folder_and_a_file_that_is_not_there_are_named(name, kind, said, tmp_path):
    with pytest.raises(kind, match=said):
        unspan.audit_outputs(tmp_path / name, tmp_path / name, classes=[0])


def test_arrays_of_python_objects_are_not_read(tmp_path):
    np.savez(tmp_path / "x.npz", fit_labels=np.array([{}, {}], dtype=object))
    with pytest.raises(DataError, match="cannot be read as outputs"):
        unspan.audit_outputs(tmp_path / "x.npz", tmp_path / "x.npz", classes=[0])


def test_the_command(files, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\nowl\n")
    out = tmp_path / "audit"
    words = ["audit", files["before"], files["before"], "--outputs", "--forget", "cat"]
    words += ["--classes", names, "--out", out, "--no-pictures", "--fail-on", "retained"]
    words += ["--cache", tmp_path / "cache"]
    assert CliRunner().invoke(app, list(map(str, words))).exit_code == 6
    record = json.loads((out / "audit.json").read_text())
    assert record["request"]["selector"] == ["cat"] and record["verdict"] == "RETAINED"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--forget", "deer"], "give the label, a whole number"),
        (["--forget", "0", "--data", "photos"], "--data is about models or data"),
        (["--forget", "0", "--feature-layer", "fc"], "--feature-layer is about models or data"),
    ],
)
def test_options_that_say_nothing_are_refused(words, said, files, tmp_path, monkeypatch, capsys):
    given = ["audit", str(files["before"]), str(files["after"]), "--outputs", *words]
    monkeypatch.setattr("sys.argv", ["unspan", *given, "--out", str(tmp_path / "audit")])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
