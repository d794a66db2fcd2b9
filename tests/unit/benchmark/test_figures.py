"""What the figures of a benchmark show: titles, error bars, class names, marks, colours, words."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.container import BarContainer, ErrorbarContainer

from unspan.benchmark.figures import alternative, save
from unspan.benchmark.figures.drawing import (
    COLOURS,
    FORGET_ONLY,
    NEUTRAL,
    RETAIN,
    SECOND,
    forgotten,
    spread_of,
)
from unspan.benchmark.figures.files import DRAW
from unspan.benchmark.table_values import Filled

CLASSES = ["cat", "deer", "dog"]
NEEDS = {"original": None, "retrain": None, "esc": False, "lau": False, "resample": True}


def value(mean):
    return {"value": mean, "low": mean - 2.0, "high": mean + 3.0, "n": 100}


def step(place, seed):
    base = 10.0 * place + seed
    keys = ("D_f", "D_ft", "D_rt", "KR D_f", "probe", "strongest")
    return {
        "seconds": 1.0 + base,
        "values": {key: value(30.0 + base + at) for at, key in enumerate(keys)},
        "beside": {
            "weights": [
                {"part": "head", "value": 0.1 * place + 0.02 * seed},
                {"part": "other", "value": 0.01 * place},
                {"part": "conv1.weight", "value": 0.02 * place},
                {"part": "head.weight", "value": 0.1 * place},
            ],
            "cosines": {"after": [[1.0, 0.2, 0.3], [0.2, 0.4, 0.1], [0.3, 0.1, None]]},
        },
    }


def rows(seeds=2, request=None, steps=1):
    request = request or {"classes": [1]}
    found = []
    for place, (method, needs) in enumerate(NEEDS.items()):
        results = tuple(
            {
                "cell": {"request": request, "seed": seed},
                "classes": CLASSES,
                "steps": [step(place + at, seed) for at in range(steps)],
                "pictures": {"tsne": [[0.0, 1.0, 0], [1.0, 1.0, 1], [2.0, 0.0, 2]]},
            }
            for seed in range(seeds if method != "original" else 1)
        )
        row = {"label": method, "method": method, "pair": "p", "needs_retain": needs, "cells": []}
        found.append(Filled(row, results, {}))
    return found


STEPS = {"steps": [[1], [0]]}
VIEWS = ["recovery", "weights", "cosines", "runtime", "tsne", "pareto", "steps"]


def drawn(view):
    given = rows(request=STEPS, steps=2) if view == "steps" else rows()
    found = DRAW[view]("A title, class deer", given)
    assert found, view
    return found


@pytest.mark.parametrize("view", VIEWS)
def test_every_figure_has_a_title_and_says_what_is_seen(view, tmp_path):
    given = rows(request=STEPS, steps=2) if view == "steps" else rows()
    files = save(view, "name", "A title, class deer", given, tmp_path)
    vectors = [path for path in files if path.suffix == ".svg"]
    assert vectors and len(files) == 2 * len(vectors)
    for path in vectors:
        tree = ElementTree.parse(path)
        assert tree.getroot().get("role") == "img"
        words = "".join(tree.getroot().itertext())
        assert "A title, class deer" in words and "deer" in words
        told = alternative(path)
        for method in set(NEEDS) - {"original"}:
            assert method in told, (path.name, method)
        if view != "tsne":
            assert any(character.isdigit() for character in told)


@pytest.mark.parametrize("view", VIEWS)
def test_no_bar_stands_on_a_logarithmic_scale(view):
    for one in drawn(view):
        for axes in one.figure.axes:
            if any(isinstance(made, BarContainer) for made in axes.containers):
                assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "linear")


@pytest.mark.parametrize("view", ["recovery", "weights", "runtime", "pareto", "steps"])
def test_values_have_error_bars(view):
    one = drawn(view)[0]
    bars = [
        made
        for axes in one.figure.axes
        for made in axes.containers
        if isinstance(made, ErrorbarContainer)
    ]
    assert bars
    lengths = [
        float(abs(np.diff(line, axis=0)).max())
        for made in bars
        for collection in made.lines[2]
        for line in collection.get_segments()
    ]
    assert max(lengths) > 0
    assert any("one deviation over seeds" in text.get_text() for text in one.figure.texts)


def test_an_error_bar_is_a_deviation_over_seeds_or_the_interval_of_the_only_one():
    found = rows(seeds=2)
    many, single = found[2], found[0]
    assert len(many.results) == 2
    spread = spread_of(many, "strongest")
    assert (spread.mean, spread.below) == pytest.approx((55.5, 0.5**0.5))
    spread = spread_of(single, "strongest")
    assert (spread.below, spread.above) == (2.0, 3.0)
    assert spread_of(single, "seconds").above == 0.0
    assert spread_of(single, "nothing") is None


def test_classes_are_called_by_name_and_samples_are_not():
    assert forgotten(rows()) == "deer"
    assert forgotten(rows(request=STEPS, steps=2)) == "deer, cat"
    assert forgotten(rows(request={"share": 0.1})) == "the forgotten samples"
    figure = drawn("cosines")[0].figure
    ticks = {text.get_text() for axes in figure.axes for text in axes.get_yticklabels()}
    assert {"cat", "▸ deer", "dog"} <= ticks
    labels = drawn("pareto")[0].figure.axes[0].get_xlabel()
    assert "strongest attack on deer" in labels
    ticks = [text.get_text() for text in drawn("steps")[0].figure.axes[0].get_xticklabels()]
    assert ticks == ["+ deer", "+ cat"]


def test_the_front_is_told_and_is_beaten_by_none():
    told = drawn("pareto")[0].told
    assert told.index("retrain 45.5 %") < told.index("esc 55.5 %") < told.index("resample 75.5 %")
    assert "On the dashed line, beaten by none in both: esc, lau, resample." in told


# seen by people without one kind of cone, after Machado, Oliveira and Fernandes (2009)
VISION = {
    "all cones": np.eye(3),
    "no red": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no green": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no blue": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def lab(colour, vision):
    """CIE L*a*b* of a colour as it is seen."""
    channels = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    light = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    light = np.clip(np.array(VISION[vision]) @ light, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    share = np.array(to_xyz) @ light / [0.9505, 1.0, 1.089]
    cube = np.where(share > 0.008856, np.cbrt(share), 7.787 * share + 16 / 116)
    return np.array([116 * cube[1] - 16, 500 * (cube[0] - cube[1]), 200 * (cube[1] - cube[2])])


@pytest.mark.parametrize("vision", VISION)
def test_colours_are_told_apart_by_everybody(vision):
    for one, other in itertools.combinations((NEUTRAL, FORGET_ONLY, RETAIN), 2):
        assert np.linalg.norm(lab(one, vision) - lab(other, vision)) > 18, (one, other)
    pair = lab(FORGET_ONLY, vision) - lab(SECOND, vision)
    assert np.linalg.norm(pair) > 18
    assert len(set(COLOURS)) == len(COLOURS)
