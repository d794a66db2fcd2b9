"""SCRUB departs from its teacher on the forget set, and rewinds."""

from dataclasses import replace

import pytest
import torch
from small_network import ONE, context_of, held_out_like, stacked

import unspan
from unspan.methods import scrub
from unspan.training.context import accuracy_on
from unspan.training.loop import Pass
from unspan.training.settings import Training

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def test_scrub_pushes_the_student_from_the_original_and_the_teacher_stays(case):
    net, request, _ = case
    teacher, student = torch.randn(7, 4), torch.randn(7, 4)
    p, q = ((scores / 2).softmax(1).double() for scores in (teacher, student))
    assert float(scrub.divergence(teacher, student, 2.0)) == pytest.approx(
        4 * float((p * (p / q).log()).sum(1).mean()), rel=1e-5
    )
    assert float(scrub.divergence(teacher, teacher, 2.0)) == pytest.approx(0, abs=1e-6)
    done = unspan.erase(
        net,
        request,
        scrub.Scrub(
            alpha=0.5, gamma=1.0, msteps=3, training=Training(lr=0.02, epochs=3, batchnorm="frozen")
        ),
        check_labels=False,
        measure=False,
    )
    away = [
        float(scrub.divergence(net(stacked(part)[0]), done.model(stacked(part)[0]), 4.0))
        for part in (request.forget, request.retain)
    ]
    assert away[0] > 5 * away[1] > 0


def test_scrub_reads_the_forget_data_in_its_first_epochs_only(case, monkeypatch):
    net, request, _ = case
    read = []
    monkeypatch.setattr(
        scrub,
        "over",
        lambda context, samples, batch, order, loss: read.append(order) or _nothing(samples),
    )
    unspan.erase(
        net,
        request,
        scrub.Scrub(msteps=2, training=replace(ONE, epochs=4)),
        check_labels=False,
        measure=False,
    )
    assert read == [
        ("forget", 1),
        ("retain", 1),
        ("forget", 2),
        ("retain", 2),
        ("retain", 3),
        ("retain", 4),
    ]


def _nothing(samples):
    return Pass([], lambda batch: None, 0)


def test_rewinding_takes_the_epoch_nearest_to_the_held_out_error(case, monkeypatch):
    net, request, data = case
    monkeypatch.setattr(
        scrub, "accuracy_on", lambda *_: 0.85
    )  # of the last epoch on held-out samples
    done = unspan.erase(
        net,
        replace(request, holdout=held_out_like(request.forget)),
        scrub.Scrub(rewind=True, msteps=8, alpha=0.5, training=replace(ONE, lr=0.03, epochs=8)),
        check_labels=False,
        measure=False,
    )
    fit = done.receipt["method"]["fit"]
    errors = [abs(1 - row["forget_accuracy"] - fit["held_out_error"]) for row in fit["history"]]
    assert (
        errors[fit["rewound_to_epoch"] - 1] == pytest.approx(min(errors))
        and min(errors[0], errors[-1]) > min(errors) + 0.05
    )
    assert fit["held_out_error"] == pytest.approx(0.15)
    context = context_of(done.model, request)
    assert accuracy_on(done.model, context.samples("forget")) == pytest.approx(
        fit["history"][fit["rewound_to_epoch"] - 1]["forget_accuracy"]
    )
