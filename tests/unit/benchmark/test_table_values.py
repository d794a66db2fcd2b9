"""Numbers of a table: what is averaged over the cells of a row, and what is not."""

from unspan.benchmark.table_values import Column, Filled, lines, timed_alike

GPU = "cuda (a card)"


def row(method, *cells):
    """A row whose cells have a device, seconds and an accuracy."""
    results = tuple(
        {
            "device": device,
            "steps": [{"seconds": seconds, "values": {"D_f": {"value": value}}, "beside": {}}],
        }
        for device, seconds, value in cells
    )
    head = {"label": method, "method": method, "pair": "p", "needs_retain": True}
    return Filled(head | {"cells": [1, 2]}, results, {})


def shown(rows):
    columns = (Column("seconds", "seconds"), Column("D_f", "D_f"))
    return [line.numbers for line in lines(timed_alike(rows), columns)]


def test_seconds_of_two_devices_are_not_averaged():
    both = row("esc", ("cpu", 100.0, 10.0), (GPU, 1.0, 20.0))
    others = row("lau", ("cpu", 50.0, 0.0)), row("cmf", (GPU, 3.0, 5.0))
    first, second, third = shown([both, *others])
    assert first["seconds"].mean == 100.0 and first["seconds"].n == 1
    assert first["D_f"].mean == 15.0
    assert second["seconds"].mean == 50.0
    assert "seconds" not in third and third["D_f"].mean == 5.0


def test_seconds_of_one_device_are_averaged():
    (only,) = shown([row("esc", (GPU, 1.0, 1.0), (GPU, 3.0, 1.0))])
    assert only["seconds"].mean == 2.0
