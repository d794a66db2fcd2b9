"""The table of `experiments/samples.py`, and which row is best by a stated rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from _samples_measures import ATTACKS, POINTS, SHARE

LIMITS = {"membership": 0.05, "classes": 2.0, "time": 0.05}  # as much of each counts the same
HEADS = (
    "method",
    *ATTACKS,
    *(f"{one}, relearned" for one in ATTACKS),
    "compared",
    "test",
    "class outside",
    "time",
    "with trials",
    "goals missed",
)


def best(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The best row: membership comes first, then the fewest goals missed, then by the least."""
    measured = {name: row["missed"] for name, row in rows.items() if _counts(name, row)}
    return min(measured, key=lambda name: _order(measured[name]))


def _order(goals: Mapping[str, float]) -> tuple[bool, int, float]:
    return goals["membership"] != 0, len(missed(goals)), _by(goals)


def _counts(name: str, row: Mapping[str, Any]) -> bool:
    return name != "original" and "missed" in row


def missed(goals: Mapping[str, float]) -> list[str]:
    """Names of the goals that are not met."""
    return [name for name, off in goals.items() if off]


def _by(goals: Mapping[str, float]) -> float:
    return max(abs(off) / LIMITS[name] for name, off in goals.items())


def table(result: Mapping[str, Any]) -> str:
    """All requests as Markdown."""
    lines = [
        "# Single samples, and a person inside a class",
        "",
        "`python experiments/samples.py`. Small networks that remember. Each was trained on"
        " everything or on all but the request. Means over three originals.",
        "",
        f"- {', '.join(ATTACKS)}: AUC of telling the forget samples from unseen ones, with its 95 %"
        " interval. The first row says where one more retrained network would lie, with 95 %.",
        "- relearned: the same of one half, after the network was trained on the other half again.",
        "- compared: AUC of telling the forget samples from kept ones by the original and the new"
        " network. That of retrained networks is above 0.5, since they did not see them either.",
        f"- class outside: points by which a class lies outside retrained networks ± {POINTS:g}.",
        f"- time: processor seconds as a share of retraining; {100 * SHARE:g} % is the goal. Trials"
        " of `--tune` are counted in the next column.",
        "- goals missed: membership, classes, time. The best row meets membership, if any does;"
        " then it misses the fewest others, then by the least.",
        "",
    ]
    for name, request in result["requests"].items():
        lines += [*_request(name, request), ""]
    return "\n".join(lines)


def _request(name: str, request: Mapping[str, Any]) -> list[str]:
    before = request["remembered"]
    known = ", ".join(
        f"{one['auc']:.2f} ({one['low']:.2f} to {one['high']:.2f}: {one['memory']})"
        for one in before
    )
    lines = [
        f"## {name}",
        "",
        f"{request['forget']} samples to forget, {request['unseen']} unseen, {request['test']} for"
        f" accuracies; {request['retrained']['networks']} retrained networks,"
        f" {request['retrained']['seconds']:.2f} s each. Before, without other networks, the attack"
        f" on losses reads {known}. Best: {best(request['rows'])}.",
        "",
        "| " + " | ".join(HEADS) + " |",
        "|---" * len(HEADS) + "|",
        _retrained(request["retrained"]),
    ]
    return [*lines, *(_row(label, row) for label, row in request["rows"].items())]


def _retrained(found: Mapping[str, Any]) -> str:
    names = (*ATTACKS, *(f"{one}, relearned" for one in ATTACKS), "compared")
    cells = [
        f"{found[name]['auc']:.2f} ({found[name]['range'][0]:.2f} to {found[name]['range'][1]:.2f})"
        for name in names
    ]
    return f"| retrained | {' | '.join(cells)} | {found['test']:.1f} | | 100 % | | |"


def _row(label: str, row: Mapping[str, Any]) -> str:
    if "error" in row:
        return f"| {label} |" + " – |" * (len(HEADS) - 2) + f" {row['error'][:60]} |"
    names = (*ATTACKS, *(f"{one}, relearned" for one in ATTACKS))
    cells = [_area(row.get(name)) for name in names]
    cells.append(f"{row['compared']['auc']:.2f}" if "compared" in row else "")
    off = row["missed"]
    shares = [f"{100 * row[name]:.0f} %" for name in ("share", "share with trials")]
    wrong = "" if label == "original" else ", ".join(missed(off)) or "none"
    cells += [f"{row['test']:.1f}", f"{off['classes']:.1f}", *shares, wrong]
    return f"| {label} | {' | '.join(cells)} |"


def _area(found: Mapping[str, float] | None) -> str:
    if found is None:
        return "tied"
    return f"{found['auc']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
