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
from unspan.errors import DataError
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


def test_membership_of_a_class_request_is_judged_within_the_class(model, request_, tmp_path):
    """An eraser that silences the class silences unseen samples of it as well: that is no trace of single samples."""
    done = unspan.erase(model, request_, unspan.ESC(rank=1))
    found = unspan.audit(model, done, request_, Run(), reference=[trained(request_.retain, seed=1)], cache=tmp_path, pictures=False)
    single = next(one for one in found.account["levels"] if one["level"] == "S")
    assert "AUC" in single["why"] and found.account["reference"]["kind"] == "retrained"
    area = float(single["why"].split("AUC ")[1].split()[0])
    assert 0.3 < area < 0.7
