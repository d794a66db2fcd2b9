"""A pytest plugin: processor seconds of every test, set-up and tear-down, children included.

    pytest -p tools.times --times build/times.jsonl ...
    python tools/times.py build/times.jsonl

Wall clock depends on what else the machine does, processor time hardly. The second command prints
the slowest tests and the tests that have to be marked `slow`.
"""

import json
import os
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest


def pytest_addoption(parser):
    parser.addoption("--times", help="append one JSON line a phase to this file")


def _now():
    used = os.times()
    busy = used.user + used.system + used.children_user + used.children_system
    return busy, time.perf_counter()


def _phase(item, name):
    before = _now()
    yield
    after = _now()
    target = item.config.getoption("--times")
    if target is None:
        return
    line = {"test": item.nodeid, "phase": name}
    line |= {"cpu": round(after[0] - before[0], 3), "wall": round(after[1] - before[1], 3)}
    with open(target, "a") as file:
        file.write(json.dumps(line) + "\n")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup(item):
    yield from _phase(item, "setup")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    yield from _phase(item, "call")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(item):
    yield from _phase(item, "teardown")


def totals(path):
    """Processor seconds of each test `{nodeid: seconds}`, all phases together."""
    seconds = defaultdict(float)
    for line in Path(path).read_text().splitlines():
        entry = json.loads(line)
        seconds[entry["test"]] += entry["cpu"]
    return dict(seconds)


def main(path, limit=30):
    """Print the slowest tests as a Markdown table, and the sum of all."""
    seconds = totals(path)
    slowest = sorted(seconds, key=seconds.get, reverse=True)
    print("| processor seconds | test |\n|---:|---|")
    for test in slowest[: int(limit)]:
        print(f"| {seconds[test]:.1f} | `{test}` |")
    print(f"\n{len(seconds)} tests, {sum(seconds.values()):.0f} processor seconds.")


if __name__ == "__main__":
    main(*sys.argv[1:])
