"""The loop that all trained methods share, and the samples they draw from."""

import copy
import json
import multiprocessing
import os
import socket
import time
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset, TensorDataset

import unspan
from unspan.errors import DataError, InconclusiveError, UsageError
from unspan.methods.finetune import Finetune
from unspan.methods.neggrad import NegGrad
from unspan.methods.salun import SalUn
from unspan.run import Run
from unspan.training.samples import NO_LABEL, Samples, generator
from unspan.training.settings import Training

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 4)
    ).eval()


def table(n=160):
    g = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 4
    return TensorDataset(2 * torch.randn(4, 8, generator=g)[y] + torch.randn(n, 8, generator=g), y)


def splits():
    return unspan.Request.by_class(table(), 2)


def finetuned(training, **more):
    return unspan.erase(
        network(), splits(), Finetune(training=training), check_labels=False, measure=False, **more
    )


def weights(done):
    return torch.cat([tensor.flatten().double() for tensor in done.model.state_dict().values()])


def test_the_loop_is_plain_sgd_on_shuffled_minibatches():
    training = Training(
        lr=0.05,
        epochs=2,
        batch=32,
        momentum=0.9,
        weight_decay=0.01,
        milestones=(1,),
        batchnorm="frozen",
    )
    net = network()
    net[3].p = 0.0
    done = unspan.erase(
        net, splits(), Finetune(training=training), check_labels=False, measure=False
    )
    want, retain = copy.deepcopy(net), splits().retain
    x, y = (torch.stack(list(part)) for part in zip(*retain, strict=True))
    speed = [torch.zeros_like(one) for one in want.parameters()]
    losses = []
    for epoch, lr in ((1, 0.05), (2, 0.005)):
        total = 0.0
        for rows in torch.randperm(len(x), generator=generator(0, "order", "retain", epoch)).split(
            32
        ):
            loss = cross_entropy(want(x[rows]), y[rows])
            total += float(loss.detach()) * len(rows)
            for one, v, grad in zip(
                want.parameters(),
                speed,
                torch.autograd.grad(loss, list(want.parameters())),
                strict=True,
            ):
                v.mul_(0.9).add_(grad + 0.01 * one.detach())
                with torch.no_grad():
                    one -= lr * v
        losses.append(total / len(x))
    for one, other in zip(done.model.parameters(), want.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    history = done.receipt["method"]["fit"]["history"]
    assert [row["loss"] for row in history] == pytest.approx(losses, rel=1e-5) and [
        row["lr"] for row in history
    ] == pytest.approx([0.05, 0.005])
    assert (
        history[0]["seconds"] >= 0
        and history[0]["forget_accuracy"] is None
        and 0 <= history[0]["retain_accuracy"] <= 1
    )


def test_batchnorm_is_trained_or_left_alone_as_asked():
    plain = Training(lr=0.01, epochs=1)
    moved, kept = (
        finetuned(replace(plain, batchnorm=mode)).model[1].running_mean
        for mode in ("train", "frozen")
    )
    assert torch.equal(kept, network()[1].running_mean) and not torch.equal(moved, kept)


def test_parts_of_a_minibatch_add_up_to_the_whole():
    net = network()
    net[3].p = 0.0
    plain = Training(lr=0.05, epochs=2, batch=40, batchnorm="frozen")
    one, many = (
        weights(
            unspan.erase(
                net,
                splits(),
                Finetune(training=replace(plain, accumulate=parts)),
                check_labels=False,
                measure=False,
            )
        )
        for parts in (1, 3)
    )
    assert torch.allclose(one, many, atol=1e-6) and not torch.equal(
        one,
        weights(
            unspan.erase(
                net, splits(), Finetune(training=replace(plain, lr=0.04)), check_labels=False
            )
        ),
    )


def test_mixed_precision_stays_near_full_precision():
    plain = Training(lr=0.02, epochs=2, batchnorm="frozen")
    full, mixed = (finetuned(replace(plain, precision=kind)) for kind in ("float32", "bf16"))
    assert not torch.equal(weights(full), weights(mixed)) and torch.allclose(
        weights(full), weights(mixed), atol=0.02
    )
    assert all(tensor.dtype == torch.float32 for tensor in mixed.model.parameters())


def test_a_loss_that_explodes_ends_the_run_with_advice():
    with pytest.raises(InconclusiveError, match="neggrad: (the loss is|a weight is).*Lower lr"):
        unspan.erase(
            network(),
            splits(),
            NegGrad(training=Training(lr=1e30, epochs=3, batchnorm="frozen")),
            check_labels=False,
            measure=False,
        )


def test_nesterov_looks_ahead():
    ahead = Training(
        lr=0.05,
        epochs=2,
        batch=200,
        weight_decay=0.01,
        optimiser="nesterov",
        batchnorm="frozen",
    )
    net = network()
    net[3].p = 0.0
    done = unspan.erase(net, splits(), Finetune(training=ahead), check_labels=False, measure=False)
    want = copy.deepcopy(net)
    x, y = (torch.stack(list(part)) for part in zip(*splits().retain, strict=True))
    speed = [torch.zeros_like(one) for one in want.parameters()]
    for _ in range(2):
        slopes = torch.autograd.grad(cross_entropy(want(x), y), list(want.parameters()))
        for one, v, slope in zip(want.parameters(), speed, slopes, strict=True):
            with torch.no_grad():
                grad = slope + 0.01 * one
                v.mul_(0.9).add_(grad)
                one -= 0.05 * (grad + 0.9 * v)
    for one, other in zip(done.model.parameters(), want.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"momentum": 0.0, "optimiser": "nesterov"},
        {"clip": -1},
        {"momentum": -1},
        {"momentum": 1.5},
        {"weight_decay": -1},
        {"lr": "abc"},
        {"lr": float("inf")},
        {"epochs": 1.5},
        {"stop_at": "x"},
        {"stop_at": 5},
        {"batch": True},
    ],
)
def test_impossible_settings_of_the_loop_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Training(**({"lr": 0.1, "epochs": 1} | wrong))


def test_weights_that_are_not_finite_are_never_returned():
    from dataclasses import dataclass

    from unspan.methods import SVD, Outcome, TrainedMethod

    @dataclass(frozen=True)
    class Breaking(TrainedMethod):
        name = "breaking"
        needs = frozenset({"forget"})

        def unlearn(self, work):
            with torch.no_grad():
                work.model[4].weight[0, 0] = float("nan")
            return Outcome()

    with pytest.raises(InconclusiveError, match="breaking: 4.weight is infinite or NaN"):
        unspan.erase(network(), splits(), Breaking(), check_labels=False, measure=False)
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(UsageError):
            SVD(alpha_forget=wrong)


def test_a_label_beyond_the_outputs_is_named():
    right = splits()
    x, y = (torch.stack(list(part)) for part in zip(*right.retain, strict=True))
    with pytest.raises(
        DataError, match="A label of the retain data is 9, and the model has 4 outputs"
    ):
        unspan.erase(
            network(),
            replace(right, retain=TensorDataset(x, torch.full_like(y, 9))),
            Finetune(),
            check_labels=False,
            measure=False,
        )


def test_a_last_minibatch_of_one_does_not_stop_batchnorm():
    right = splits()
    x, y = (torch.stack(list(part)) for part in zip(*right.retain, strict=True))
    done = unspan.erase(
        network(),
        replace(right, retain=TensorDataset(x[:65], y[:65])),
        Finetune(training=Training(lr=0.01, epochs=1, batch=32)),
        check_labels=False,
        measure=False,
    )
    assert done.receipt["method"]["fit"]["retained_used"] == 65


def test_a_model_without_trainable_weights_is_refused():
    net = network().requires_grad_(False)
    with pytest.raises(UsageError, match="requires gradients"):
        unspan.erase(net, splits(), Finetune(), check_labels=False, measure=False)


def test_frozen_weights_stay():
    net = network()
    net[0].requires_grad_(False)
    done = unspan.erase(
        net, splits(), Finetune(training=Training(lr=0.05, epochs=1)), check_labels=False
    )
    assert torch.equal(done.model[0].weight, net[0].weight) and not torch.equal(
        done.model[4].weight, net[4].weight
    )


# ---- resume --------------------------------------------------------------------------------------


class Killed(BaseException):
    """As if the process had been killed."""


@pytest.mark.parametrize(
    "method",
    [
        Finetune(training=Training(lr=0.02, epochs=4)),
        Finetune(training=Training(lr=0.01, epochs=4, optimiser="adam")),
        SalUn(training=Training(lr=0.02, epochs=4)),
    ],
    ids=["sgd", "adam", "salun"],
)
def test_a_run_that_was_killed_goes_on_to_the_same_weights(tmp_path, method):
    whole = unspan.erase(network(), splits(), method, check_labels=False, measure=False)
    stages = []

    def die(stage, done, total):
        if "epoch 3" in stage and stages.append(stage) is None:
            raise Killed

    folder = tmp_path / "epochs"
    with pytest.raises(Killed):
        unspan.erase(
            network(),
            splits(),
            method,
            Run(progress=die),
            check_labels=False,
            measure=False,
            resume=folder,
        )
    assert [entry.name for entry in folder.iterdir()] == ["stage-1-epoch-2"]
    seen = []
    again = unspan.erase(
        network(),
        splits(),
        method,
        Run(progress=lambda stage, *_: seen.append(stage)),
        check_labels=False,
        measure=False,
        resume=folder,
    )
    assert torch.equal(weights(whole), weights(again)) and not any(
        "epoch 1" in stage or "epoch 2" in stage for stage in seen
    )
    strip = lambda done: [  # noqa: E731
        {k: v for k, v in row.items() if k != "seconds"}
        for row in done.receipt["method"]["fit"]["history"]
    ]
    assert strip(whole) == strip(again)
    assert any("went on after epoch 2" in line for line in again.warnings)
    assert folder.exists()  # until the result is safe
    again.save(tmp_path / "out")
    assert not folder.exists()


@pytest.mark.parametrize("damage", ["settings", "truncated", "story", "labels"])
def test_epochs_of_another_run_or_broken_ones_are_not_taken_up(tmp_path, damage):
    folder, training = tmp_path / "epochs", Training(lr=0.02, epochs=3)

    def die(stage, done, total):
        if "epoch 3" in stage:
            raise Killed

    with pytest.raises(Killed):
        finetuned(training, run=Run(progress=die), resume=folder)
    kept = folder / "stage-1-epoch-2"
    if damage == "settings":
        training = replace(training, lr=0.03)
    elif damage == "labels":
        right = splits()
        x, y = (torch.stack(list(part)) for part in zip(*right.retain, strict=True))
        other = replace(right, retain=TensorDataset(x, (y + 1) % 4))
        again, whole = (
            unspan.erase(
                network(),
                other,
                Finetune(training=training),
                check_labels=False,
                measure=False,
                resume=where,
            )
            for where in (folder, None)
        )
        assert torch.equal(weights(again), weights(whole))
        return
    elif damage == "truncated":
        (kept / "state.safetensors").write_bytes((kept / "state.safetensors").read_bytes()[:100])
    else:
        (kept / "history.json").write_text("{")
    again = finetuned(training, resume=folder)
    assert torch.equal(weights(again), weights(finetuned(training)))


# ---- samples -------------------------------------------------------------------------------------


class Noisy(Dataset):
    """Random augmentation."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        x, y = self.data[index]
        return x + torch.rand(()), y


def test_samples_in_memory_and_read_anew_are_the_same():
    data = splits()
    parts = [(data.forget, True), (data.retain, False)]
    kept, lazy = Samples(parts, Run(batch_size=7)), Samples(parts, Run(batch_size=7), limit=0)
    for one, other in zip(
        kept.shuffled(33, generator(0)), lazy.shuffled(33, generator(0)), strict=True
    ):
        assert (
            torch.equal(one.x, other.x)
            and torch.equal(one.y, other.y)
            and torch.equal(one.forget, other.forget)
            and torch.equal(one.index, other.index)
        )
    assert (
        kept.forget.sum() == 40
        and (kept.y[kept.forget] == 2).all()
        and kept.seen.digests == lazy.seen.digests
    )
    assert sorted(
        torch.cat([batch.index for batch in kept.shuffled(33, generator(1))]).tolist()
    ) == list(range(160))
    few = kept.endless(30, generator(2))
    assert all(len(next(few)) == 30 for _ in range(12))


def test_augmented_data_are_drawn_anew_in_every_epoch():
    for parts in ([(Noisy(table()), False)], [(table(40), True), (Noisy(table()), False)]):
        samples = Samples(parts, Run())
        first, second = (next(iter(samples.minibatches(50))).x for _ in range(2))
        assert not torch.equal(first, second)


def test_streams_without_labels_or_a_length_are_refused():
    x, _ = (torch.stack(list(part)) for part in zip(*table(), strict=True))
    with pytest.raises(DataError, match="has no label"):
        Samples([(TensorDataset(x), False)], Run())
    with pytest.raises(DataError, match="more than once"):
        Samples([(iter([x]), False)], Run())
    assert (Samples([(TensorDataset(x), False)], Run(), labelled=False).y == NO_LABEL).all()


def test_an_earlier_request_of_samples_cannot_be_kept_apart_and_is_refused():
    first = unspan.erase(
        network(),
        unspan.Request.by_index(table(), range(30)),
        Finetune(training=Training(lr=0.01, epochs=1)),
        check_labels=False,
        measure=False,
    )
    with pytest.raises(UsageError, match="would be learned again"):
        unspan.erase(
            first, splits(), Finetune(training=Training(lr=0.01, epochs=1)), check_labels=False
        )


# ---- a further request, and several processes ----------------------------------------------------


def test_a_trained_model_takes_further_requests_and_an_erased_one_none_by_training(tmp_path):
    first = finetuned(Training(lr=0.01, epochs=1))
    first.save(tmp_path / "one")
    reopened = unspan.load(tmp_path / "one", model=network())
    second = unspan.erase(
        reopened,
        unspan.Request.by_class(table(), 1),
        Finetune(training=Training(lr=0.01, epochs=1)),
        check_labels=False,
        measure=False,
    )
    assert len(second.receipt["previous"]) == 1
    assert (
        second.receipt["method"]["fit"]["retained_used"] == 80
    )  # neither class 1 nor class 2, which would be learned again
    third = unspan.erase(
        second, unspan.Request.by_class(table(), 1), unspan.ESC(rank=1), check_labels=False
    )
    assert len(third.receipt["previous"]) == 2 and third.receipt["placement"]["kind"] == "hook"
    with pytest.raises(UsageError, match="would train away"):
        unspan.erase(third, splits(), Finetune(), check_labels=False, measure=False)


def _process(rank, world, port, pipe):
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    net = network()
    net[3].p = 0.0
    try:
        done = unspan.erase(
            net,
            splits(),
            SalUn(training=Training(lr=0.05, epochs=2, batch=31, batchnorm="frozen")),
            Run(timeout=20),
            check_labels=False,
            measure=False,
        )
        pipe.send((weights(done).tolist(), done.receipt["method"]["fit"]["history"][-1]["loss"]))
    except BaseException as error:  # the parent shows it
        pipe.send(repr(error))


@pytest.mark.timeout(120)
def test_two_processes_train_to_the_weights_of_one():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    pipes, started = [], []
    for rank in range(2):
        ours, theirs = context.Pipe()
        started.append(context.Process(target=_process, args=(rank, 2, port, theirs)))
        started[-1].start()
        pipes.append(ours)
    deadline = time.monotonic() + 90
    said = [
        pipe.recv() if pipe.poll(max(0, deadline - time.monotonic())) else "no answer"
        for pipe in pipes
    ]
    for one in started:
        one.join(10)
    assert not any(isinstance(one, str) for one in said), said
    net = network()
    net[3].p = 0.0
    alone = unspan.erase(
        net,
        splits(),
        SalUn(training=Training(lr=0.05, epochs=2, batch=31, batchnorm="frozen")),
        check_labels=False,
        measure=False,
    )
    assert said[0][0] == said[1][0]
    assert torch.allclose(torch.tensor(said[0][0], dtype=torch.float64), weights(alone), atol=1e-5)
    assert said[0][1] == pytest.approx(
        alone.receipt["method"]["fit"]["history"][-1]["loss"], rel=1e-4
    )
    json.dumps(said)


def test_weights_of_half_precision_that_overflow_say_to_train_in_float32():
    data = table()
    half = TensorDataset(data.tensors[0].half(), data.tensors[1])
    with pytest.raises(InconclusiveError, match=r"float16.*model\.float\(\)"):
        unspan.erase(
            network().half(),
            unspan.Request.by_class(half, 2),
            Finetune(training=Training(lr=1e4, epochs=3, batch=31)),
            check_labels=False,
            measure=False,
        )
