"""Bad teaching: every sample has its own teacher."""

import copy
from dataclasses import replace

import pytest
import torch
from small_network import ONE, Net, context_of, stacked

import unspan
from unspan.methods import bad_teaching
from unspan.training.settings import Training

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def test_bad_teaching_gives_every_sample_its_own_teacher(case):
    net, request, _ = case
    good, bad = copy.deepcopy(net), Net().eval()
    context = context_of(net, request)
    batch = context.samples("forget", "retain").take(torch.tensor([0, 100, 1, 200]))
    found = bad_teaching.teachers(good, bad, batch, torch.zeros(4, 4))
    assert batch.forget.tolist() == [True, False, True, False]
    assert torch.allclose(found[::2], bad(batch.x[::2])) and torch.allclose(
        found[1::2], good(batch.x[1::2])
    )
    done = unspan.erase(
        net,
        request,
        bad_teaching.BadTeaching(
            training=Training(lr=0.02, epochs=15, optimiser="adam", weight_decay=0.0)
        ),
        check_labels=False,
        measure=False,
    )

    def sure(model, part):
        return float(model(stacked(part)[0]).softmax(1).amax(1).mean())

    assert (
        sure(done.model, request.forget) < sure(net, request.forget) - 0.2
        and sure(done.model, request.retain) > 0.7
    )


def test_both_teachers_speak_at_the_temperature_of_the_student(case, monkeypatch):
    net, request, _ = case
    seen = []
    monkeypatch.setattr(
        bad_teaching,
        "kl_div",
        lambda student, teacher, **_: seen.append((student, teacher)) or student.sum() * 0,
    )
    unspan.erase(
        net,
        request,
        bad_teaching.BadTeaching(
            temperature=3.0, retain_share=1.0, training=replace(ONE, batch=1000)
        ),
        check_labels=False,
        measure=False,
    )
    student, teacher = seen[0]
    x, _ = (
        torch.cat(part)
        for part in zip(stacked(request.forget), stacked(request.retain), strict=True)
    )
    rows = {tuple(row.tolist()) for row in (net(x) / 3).log_softmax(1).detach().round(decimals=3)}
    assert (
        sum(tuple(row.tolist()) in rows for row in teacher.detach().round(decimals=3)) >= 180
    )  # the retained ones
