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

LIMIT = 2.0  # processor seconds above which a test function is slow
SHOWN = 20  # rows of the table


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
    # tests change the working directory
    with open(item.config.invocation_params.dir / target, "a") as file:
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
    """Processor seconds of each test function `{FILE::FUNCTION: seconds}`, cases together."""
    seconds = defaultdict(float)
    for line in Path(path).read_text("utf-8").splitlines():
        entry = json.loads(line)
        function = entry["test"].rpartition("/")[2].partition("[")[0]
        seconds[function] += entry["cpu"]
    return dict(seconds)


def main(path):
    """Print the slowest tests as a Markdown table, then the list for `tests/slow.txt`."""
    seconds = totals(path)
    slowest = sorted(seconds, key=seconds.get, reverse=True)
    print("| processor seconds | test, all its cases |\n|---:|---|")
    for function in slowest[:SHOWN]:
        print(f"| {seconds[function]:.0f} | `{function}` |")
    slow = sorted(function for function in slowest if seconds[function] > LIMIT)
    rest = sum(seconds[function] for function in slowest if function not in slow)
    print(f"\nAll: {sum(seconds.values()):.0f} s. Without the {len(slow)} slow: {rest:.0f} s.\n")
    print("\n".join(slow))


if __name__ == "__main__":
    main(sys.argv[1])
