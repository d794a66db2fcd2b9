import json

import pytest
import torch
from safetensors.torch import save_file
from torch.utils.data import Subset, TensorDataset
from typer.testing import CliRunner

import unspan
from unspan.auditing.controls import noise, permuted
from unspan.auditing.reading import ERASED, RETAINED, overall
from unspan.auditing.verify import verify
from unspan.cli import app
from unspan.errors import DataError, UsageError
from unspan.metrics.linear import linear_probe
from unspan.metrics.neighbours import nearest
from unspan.metrics.outputs import Outputs
from unspan.run import Run
from unspan.zoo import DigitsCNN

pytestmark = pytest.mark.filterwarnings("ignore")


def trained(data, seed):
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


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    raw = load_digits()
    whole = TensorDataset(torch.tensor(raw.images, dtype=torch.float32)[:, None] / 16, torch.tensor(raw.target))
    held = [i for i in range(len(whole)) if i % 3 == 0]
    return {"train": Subset(whole, [i for i in range(len(whole)) if i % 3]), "test": Subset(whole, held)}


@pytest.fixture(scope="module")
def model(digits):
    return trained(digits["train"], seed=0)


@pytest.fixture(scope="module")
def request_(digits):
    return unspan.Splits.by_class(digits["train"], 3).with_test(digits["test"])


@pytest.fixture(scope="module")
def audited(model, request_, tmp_path_factory):
    done = unspan.erase(model, request_, unspan.ESC(rank=1))
    folder = tmp_path_factory.mktemp("audit")
    found = unspan.audit(model, done, request_, Run(), cache=folder / "cache", pictures=False)
    return done, found, folder


def test_erasing_the_head_only_is_not_called_an_erasure(audited):
    _, found, _ = audited
    assert found.verdict == RETAINED
    assert found.account["attacks"][0]["verdict"] == RETAINED


def test_both_fakes_are_caught_and_noise_is_not(audited):
    controls = audited[1].account["controls"]
    assert [one["expect"] for one in controls] == ["caught", "caught", "passed"]
    assert all(one["ok"] for one in controls)


def test_claims_are_levels_that_hold(audited):
    account = audited[1].account
    assert {line[:2] for line in account["claims"]} == {one["level"] for one in account["levels"] if one["holds"]}
    assert next(one for one in account["levels"] if one["level"] == "L4")["holds"] is False
    assert any("bit for bit" in line for line in account["can_still"])


def test_the_same_audit_twice_is_the_same_and_runs_no_forward_pass_for_outputs(audited, model, request_):
    done, found, folder = audited
    again = unspan.audit(model, done, request_, Run(), cache=folder / "cache", pictures=False)
    volatile = ("created", "seconds", "seal")
    assert {k: v for k, v in again.account.items() if k not in volatile} == {k: v for k, v in found.account.items() if k not in volatile}


def test_an_audit_leaves_both_models_alone(model, request_, tmp_path):
    done = unspan.erase(model, request_, unspan.ESC(rank=1))
    states = [{name: tensor.clone() for name, tensor in one.state_dict().items()} for one in (model, done.model)]
    unspan.audit(model, done, request_, Run(), cache=tmp_path, pictures=False)
    for one, state in zip((model, done.model), states, strict=True):
        assert all(torch.equal(tensor, state[name]) for name, tensor in one.state_dict().items())
        assert not one.training


def test_the_untouched_model_is_retained_and_json_round_trips(model, request_, tmp_path):
    found = unspan.audit(model, model, request_, Run(), cache=tmp_path, pictures=False)
    assert found.verdict == RETAINED
    assert json.loads(found.to_json()) == found.account


def test_a_reference_of_another_task_is_refused(model, request_, tmp_path):
    with pytest.raises(DataError, match="reference 1 is right on"):
        unspan.audit(model, model, request_, Run(), reference=[DigitsCNN().eval()], cache=tmp_path, pictures=False)


def test_a_reference_that_saw_the_class_decides_nothing(model, request_, tmp_path):
    found = unspan.audit(model, model, request_, Run(), reference=[model], cache=tmp_path, pictures=False)
    assert found.verdict == "NOT MEASURABLE"
    assert any("it seems to have seen them" in note for note in found.account["notes"])


def test_single_samples_are_not_claimed_without_reference_models(model, digits, tmp_path):
    splits = unspan.Splits.by_index(digits["train"], range(40)).with_test(digits["test"])
    found = unspan.audit(model, model, splits, Run(), cache=tmp_path, pictures=False)
    assert found.account["claims"] == []
    assert any("RMIA" in one["name"] for one in found.account["not_run"])


def test_forget_data_without_the_rest_is_an_error(model, digits):
    with pytest.raises(DataError, match="samples to keep"):
        unspan.audit(model, model, digits["test"])


@pytest.fixture
def folders(model, audited, tmp_path):
    done, found, _ = audited
    done.save(tmp_path / "erased")
    found.save(tmp_path / "audit")
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    return tmp_path


def test_verify_finds_a_changed_audit_and_another_models_audit(folders, model):
    def ok():
        return {one.name: one.ok for one in verify(folders / "erased", folders / "audit", model=DigitsCNN())}

    assert all(ok().values()), ok()
    text = (folders / "audit/audit.json").read_text()
    (folders / "audit/audit.json").write_text(text.replace("RETAINED", "ERASED AT THIS LEVEL"))
    assert ok()["audit is as it was written"] is False
    (folders / "audit/audit.json").write_text(text.replace("unspan.audit/1", "unspan.audit/9"))
    assert ok()["audit"] is None
    other = json.loads(text)
    other["hashes"]["after"] = "sha256:0"
    (folders / "audit/audit.json").write_text(json.dumps(other))
    assert ok()["audit is of these weights"] is False


def test_verify_exit_codes(folders):
    run = CliRunner().invoke
    assert run(app, ["verify", str(folders / "nothing")]).exit_code == 2
    weights = folders / "erased/model.safetensors"
    blob = bytearray(weights.read_bytes())
    blob[-1] ^= 1
    weights.write_bytes(bytes(blob))
    assert run(app, ["verify", str(folders / "erased")]).exit_code == 1


def features(seed, kind, n=400, d=16, classes=4):
    """Outputs in which class 0 is the forgotten one: as separate as the others (`known`) or drawn from the next class."""
    generator = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(classes, d, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(classes, (n,), generator=generator)
    source = labels if kind == "known" else torch.where(labels == 0, torch.randint(1, classes, (n,), generator=generator), labels)
    x = centres[source] + torch.randn(n, d, generator=generator)
    return Outputs(features=x, logits=None, labels=labels, forget=labels == 0)


def read(seed, kind, n=400):
    fit, test = features(seed, kind, n), features(10_000 + seed, kind, n)
    return [linear_probe(fit, test, seed), *nearest(fit, test, ks=(5,), seed=seed)[:1]]


def test_fakes_are_caught_a_hundred_times_of_a_hundred():
    caught = 0
    for seed in range(0, 100):
        original, reference = read(seed, "known"), read(500 + seed, "gone")
        reference = [type(one)(**{**one.__dict__, "forget": one.forget[torch.arange(len(o.forget)) % len(one.forget)]}) for one, o in zip(reference, original, strict=True)]
        caught += overall(original, original, [[one] for one in reference])[0] == RETAINED
    assert caught == 100


def test_erased_features_are_flagged_at_most_five_times_in_a_hundred():
    flagged = 0
    for seed in range(100):
        pairs = [read(seed, "known"), read(seed, "gone"), read(seed, "gone")]
        # the erased model draws its own replacement: same rows, other features
        flagged += overall(pairs[0], pairs[1], [[one] for one in pairs[2]])[0] == RETAINED
    assert flagged <= 5


def test_permuted_labels_are_flagged_at_most_once_in_twenty():
    flagged = 0
    for seed in range(20):
        fit, test = features(seed, "known", classes=10), features(999 + seed, "known", classes=10)
        gone = linear_probe(features(seed, "gone", classes=10), test, seed)
        found = noise(linear_probe(fit, test, seed), permuted(fit, test, 100 * seed), [gone], seed)
        flagged += found.found == "caught"
    assert flagged <= 1


def test_words_for_the_erased_case():
    original, gone = read(1, "known", 2000), read(1, "gone", 2000)
    assert overall(original, gone, [[one] for one in gone])[0] == ERASED


def rows_of(found, group, name):
    return {one["model"]: one for one in found.account["scores"] if one["group"] == group and one["name"].startswith(name)}


def test_columns_of_table_five_against_a_retrained_model(model, request_, tmp_path):
    reference = trained(request_.retain, seed=1)
    done = unspan.erase(model, request_, unspan.ESC(rank=1))
    found = unspan.audit(model, done, request_, Run(), reference=[reference, trained(request_.retain, seed=2)], cache=tmp_path, pictures=False)
    rates, gap = rows_of(found, "published", "member rate"), rows_of(found, "published", "average gap")["after"]

    def right(net, data):
        x, y = (torch.stack(list(part)) for part in zip(*data, strict=True))
        return 100 * float((net(x).argmax(1) == y).double().mean())

    with torch.no_grad():
        tested = torch.utils.data.ConcatDataset([request_.test_forget, request_.test_retain])
        wanted = [abs(right(done.model, data) - right(reference, data)) for data in (request_.forget, request_.retain, tested)]
    assert [gap["detail"]["gaps"][key] for key in ("D_f", "D_r", "D_t")] == pytest.approx(wanted, abs=1e-9)
    assert gap["detail"]["gaps"]["MIA"] == pytest.approx(100 * abs(rates["after"]["value"] - rates["reference 1"]["value"]))
    assert gap["value"] == pytest.approx(sum(gap["detail"]["gaps"].values()) / 4)
    told = rows_of(found, "representation", "answers")
    assert told["after"]["value"] > 0.9 and told["reference 1"]["value"] > 0.9  # seeds alone are told apart: so both are shown
    assert rows_of(found, "published", "NoMUS").keys() == rates.keys()
    assert rows_of(found, "published", "run time")["after"]["value"] == done.receipt["seconds"]["total"]


def test_membership_needs_samples_that_were_never_trained_on(model, digits, tmp_path):
    """A held-out fifth of the training data is not unseen: a loss attack against it would always look harmless."""
    splits = unspan.Splits.by_class(digits["train"], 3)
    found = unspan.audit(model, model, splits, Run(), cache=tmp_path, pictures=False)
    assert all(one["value"] is None for one in rows_of(found, "membership", "membership").values())
    assert rows_of(found, "published", "member rate") == {} and rows_of(found, "published", "NoMUS") == {}


def test_the_log_names_other_models_that_were_tried_for_the_same_request(model, request_, tmp_path):
    first = unspan.audit(model, model, request_, Run(), cache=tmp_path, pictures=False)
    assert first.account["attempts"] == []
    done = unspan.erase(model, request_, unspan.ESC(rank=1))
    for _ in range(2):  # the second time is the same audit, no new attempt
        found = unspan.audit(model, done, request_, Run(), cache=tmp_path, pictures=False)
        (earlier,) = found.account["attempts"]
        assert earlier["verdict"] == RETAINED and earlier["after"] == first.account["hashes"]["after"]
    assert "audited before with other models or settings, 1 time: 1 RETAINED" in found.to_html()
    with (tmp_path / "attempts.jsonl").open("a") as log:
        log.write('{"key": "half')  # a process killed while it wrote
    assert unspan.audit(model, done, request_, Run(), cache=tmp_path, pictures=False).account["attempts"] == [earlier]


def test_grad_cam_shows_samples_only_when_asked(model, request_, tmp_path):
    done = unspan.erase(model, request_, unspan.ESC(rank=1))
    shown = unspan.audit(model, done, request_, Run(), cache=tmp_path, pictures=False, gradcam=2)
    pictures = shown.account["figures"]["gradcam"]
    assert len(pictures) == 2 and not any("Grad-CAM" in one["name"] for one in shown.account["not_run"])
    for key in ("image", "before", "after"):
        assert shown.to_html().count(pictures[0][key]) == 1
    assert pictures[0]["before"] != pictures[0]["after"]
    assert "may be personal data" in shown.to_html()


def test_grad_cam_of_what_is_no_picture_stops_before_the_work(digits, tmp_path):
    flat = TensorDataset(*(torch.stack(list(part)) for part in zip(*((x.flatten(), y) for x, y in digits["train"]), strict=True)))
    net = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)).eval()
    with pytest.raises(UsageError, match="Grad-CAM needs images"):
        unspan.audit(net, net, unspan.Splits.by_class(flat, 3), Run(), cache=tmp_path, gradcam=1)
    assert not list(tmp_path.iterdir())


def test_the_report_holds_nothing_of_single_samples(model, request_, tmp_path):
    """Promise: no pixels, no ids, no paths, and no vector that lies along a forgotten sample's features."""
    import base64
    import re

    done = unspan.erase(model, request_, unspan.ESC(rank=1))
    folder = unspan.audit(model, done, request_, Run(), cache=tmp_path / "cache", pictures=True).save(tmp_path / "audit")
    text = "\n".join(file.read_text("utf-8") for file in folder.iterdir())
    assert str(tmp_path) not in text and str(tmp_path.parent) not in text and "data:image" not in text
    x = torch.stack([image for image, _ in request_.forget])
    features = torch.cat([unspan.features(one, x).detach() for one in (model, done.model)])
    vectors = []

    def walk(value):
        if isinstance(value, dict):
            for one in value.values():
                walk(one)
        elif isinstance(value, list):
            if len(value) in (features.shape[1], x[0].numel()) and all(isinstance(one, (int, float)) for one in value):
                vectors.append(torch.tensor(value, dtype=torch.float64))
            for one in value:
                walk(one)

    walk(json.loads((folder / "audit.json").read_text("utf-8")))
    for vector in vectors:
        own = features if len(vector) == features.shape[1] else x.flatten(1)
        assert float(torch.nn.functional.cosine_similarity(own.double(), vector[None]).abs().max()) <= 0.95
    import hashlib

    for image in x:
        blob = image.contiguous().numpy().tobytes()
        assert hashlib.sha256(blob).hexdigest() not in text and base64.b64encode(blob).decode() not in text
    assert not re.search(r"[A-Za-z0-9+/]{400,}", re.sub(r"<svg.*?</svg>", "", text, flags=re.S))


def test_membership_of_a_class_request_is_judged_within_the_class(model, request_, tmp_path):
    """An eraser that silences the class silences unseen samples of it as well: that is no trace of single samples."""
    done = unspan.erase(model, request_, unspan.ESC(rank=1))
    found = unspan.audit(model, done, request_, Run(), reference=[trained(request_.retain, seed=1)], cache=tmp_path, pictures=False)
    single = next(one for one in found.account["levels"] if one["level"] == "S")
    assert "AUC" in single["why"] and found.account["reference"]["kind"] == "retrained"
    area = float(single["why"].split("AUC ")[1].split()[0])
    assert 0.3 < area < 0.7
