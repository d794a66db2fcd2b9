"""Measured numbers of README and docs, read from `results/`.

    python docs/measured.py           # writes the table of the README and docs/before-after.svg
    python docs/measured.py --check   # fails where they differ from results/

Pages of the site get the numbers of `values` as substitutions, `{{ name }}`.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from unspan.benchmark import packed

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "before-after.svg"
BEGIN, END = "<!-- begin: docs/measured.py -->", "<!-- end: docs/measured.py -->"
COLOURS = {"the model's own answer": "#9aa5b1", "strongest attack tried": "#c2410c"}


@dataclass(frozen=True)
class Row:
    """Percent of the forgotten class and of the others after one method; one value a key or seed.

    Attributes:
        name: of the method, as people say it.
        attack: what the strongest attack tried recognises of the forgotten class.
        own: what the model itself recognises of it.
        others: what the model itself recognises of the other classes.
    """

    name: str
    attack: tuple[float, ...]
    own: tuple[float, ...]
    others: tuple[float, ...]


def survive(name: str, row: str, network: str = "cifar10-allcnn") -> Row:
    """A row of `experiments/survive.py`."""
    files = sorted((ROOT / "results" / "survive").glob(f"{network}.{row}.*.json"))
    cells = [json.loads(file.read_text("utf-8")) for file in files]
    return Row(
        name,
        tuple(100 * max(one["value"] for one in cell["probes"].values()) for cell in cells),
        tuple(100 * cell["own forget"] for cell in cells),
        tuple(100 * cell["remaining"] for cell in cells),
    )


def bake() -> Row:
    """The row of `experiments/bake.py` for all retained images; the last layer is attacked."""
    table = json.loads((ROOT / "results" / "bake.json").read_text("utf-8"))
    cells = [table[f"baked, seed {seed}"] for seed in range(3)]
    found = [cell["measured"] for cell in cells]
    asked = [cell["asked twice"]["one answer"]["forget"]["value"] for cell in cells]
    layer = [max(attack_values(list(one["layers"].values())[-1])) for one in found]
    return Row(
        "bake",
        tuple(100 * max(pair) for pair in zip(asked, layer, strict=True)),
        tuple(100 * one["forget"]["value"] for one in found),
        tuple(100 * one["remaining, all"]["value"] for one in found),
    )


def attack_values(layer: dict[str, Any]) -> list[float]:
    """What each attack of a cell reads, as shares."""
    return [reading["value"] for reading in layer.values() if isinstance(reading, dict)]


def rows() -> list[Row]:
    """The rows of the first table, in its order."""
    return [
        survive("original", "original"),
        survive("ESC", "esc"),
        survive("LEACE", "leace"),
        survive("resample", "resample"),
        bake(),
        survive("retrained without deer", "original", "cifar10-allcnn-retrained"),
    ]


def shown(values: tuple[float, ...]) -> str:
    """Mean and standard deviation over keys or seeds, in percent."""
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread} %"


def unbroken(value: str) -> str:
    """The value with spaces at which no line of a narrow table breaks."""
    return value.replace(" ", "\u00a0")


def values() -> dict[str, str]:
    """Substitutions for the pages, such as `esc_attack`."""
    found = {}
    for row in rows():
        key = row.name.split()[0].lower()
        found |= {
            f"{key}_attack": shown(row.attack),
            f"{key}_own": shown(row.own),
            f"{key}_others": shown(row.others),
        }
    return found | benchmarked() | by_row() | membership() | esc_t() | published_kr()


def esc_t() -> dict[str, str]:
    """What pages say of `experiments/esc_t_reduction.py`: D_ft by the published probe and by a
    converged one, for both averages of the loss at two step sizes.
    """
    cells = json.loads((ROOT / "results" / "esc-t-reduction.json").read_text("utf-8"))["cells"]
    found = {}
    for average, rate in (("correct", 1e-3), ("batch", 1e-3), ("batch", 3e-3), ("batch", 1e-2)):
        row = [
            one for name, one in cells.items() if name.startswith(f"ESC-T, {average}, {rate:g},")
        ]
        name = f"esc_t_{average}_{rate:g}".replace(".", "_")
        for key, short in (("D_ft", "own"), ("KR D_f", "kr_fit"), ("KR D_ft", "kr")):
            found[f"{name}_{short}"] = shown(tuple(one[key] for one in row))
        found[f"{name}_probe"] = shown(
            tuple(one["probe D_ft"] for one in row if "probe D_ft" in one)
        )
    for name, row in (("original", "original"), ("esc", "ESC")):
        own = [one for key, one in cells.items() if key.startswith(f"{row}, seed")]
        found[f"full_kr_{name}"] = shown(tuple(one["KR D_ft"] for one in own))
        found[f"full_kr_fit_{name}"] = shown(tuple(one["KR D_f"] for one in own))
    return found


def published_kr() -> dict[str, str]:
    """What pages say of `experiments/published_kr.py`."""
    own_draws = "difference, own random numbers"
    found = json.loads((ROOT / "results" / "published-kr.json").read_text("utf-8"))
    largest = max(found[name]["largest"] for name in ("original", "ESC"))
    apart = max(
        (gap for name in ("original", "ESC") for gap in found[name][own_draws].values()),
        key=lambda gap: abs(gap["points"]),
    )
    return {
        "kr_own_difference": f"{abs(apart['points']):.1f}",
        "kr_own_error": f"{apart['standard error']:.1f}",
        "kr_seeds": str(len(found["ESC"]["ours"]["seeds"])),
        "kr_largest_difference": f"{largest:.2f}",
        "kr_seed_deviation": f"{found['ESC']['ours']['deviation']['D_ft']:.1f}",
    }


def membership() -> dict[str, str]:
    """What pages say of `experiments/membership.py`, with the most networks."""
    found = json.loads((ROOT / "results" / "membership.json").read_text("utf-8"))
    values = {}
    for row in found["attacks"]:
        kind = row["target"]
        values |= {
            f"lira_offline_{kind}": f"{row['LiRA, offline']:.2f}",
            f"lira_unseen_{kind}": f"{row['LiRA, online, unseen by all']:.2f}",
            f"lira_swapped_{kind}": f"{row['LiRA, online, swapped']:.2f}",
        }
    null = found["challenge"][0]
    return values | {
        "challenge_models": str(null["models"]),
        "challenge_null": f"{null['forgetting quality']:.2f}",
    }


TABLE1A = "table1a.full"  # the table that pages speak of
# what pages say of the benchmark: name of the substitution, table, label of the row, key
BENCHMARKED = (
    ("kr_original", TABLE1A, "original", "KR D_f"),
    ("kr_esc", TABLE1A, "esc", "KR D_ft"),
    ("kr_esc_t", TABLE1A, "esc-t", "KR D_ft"),
    ("d_ft_esc", TABLE1A, "esc", "D_ft"),
    ("d_ft_esc_t", TABLE1A, "esc-t", "D_ft"),
    ("d_rt_esc", TABLE1A, "esc", "D_rt"),
    ("d_rt_esc_t", TABLE1A, "esc-t", "D_rt"),
    ("d_r_original", TABLE1A, "original", "D_r"),
    ("probe_original", TABLE1A, "original", "probe"),
    ("probe_esc", TABLE1A, "esc", "probe"),
    ("probe_esc_t", TABLE1A, "esc-t", "probe"),
    ("probe_retrained", TABLE1A, "retrain", "probe"),
    ("d_rt_p_5", "table2.cpu", "p = 5", "D_rt"),
    ("d_rt_p_10", "table2.cpu", "p = 10", "D_rt"),
    ("table5_original", "table5.cpu", "original", "D_t"),
    ("table5_attack", "table5.cpu", "original", "MIA (balanced)"),
)


# tables of which pages may name every row, as {{ PREFIX_ROW_SCORE }}: {{ t1a_esc_strongest }}
PREFIXES = {
    "t1a": TABLE1A,
    "tiny": "tiny-imagenet-40.full",
    "faces": "lfw62.full",
    "damp": "damp.full",
    "t2c": "table2-cifar100.full",
    "t3c": "table3-cifar100.full",
    "t4c": "table4-cifar100.full",
}
SCORES = {
    "strongest": "strongest",
    "probe": "probe",
    "own": "D_ft",
    "kept": "D_rt",
    "kr": "KR D_ft",
    "kr_fit": "KR D_f",
}


def by_row() -> dict[str, str]:
    """Every score of every row of the tables of `PREFIXES` that are there."""
    found = {}
    for prefix, table_name in PREFIXES.items():
        for row in _tables()[0].get(table_name, {"rows": []})["rows"]:
            cells = results(table_name, row["label"])
            name = re.sub(r"\W+", "_", row["label"].lower())
            for short, key in SCORES.items():
                values = [one["values"][key]["value"] for one in cells if key in one["values"]]
                if values:
                    found[f"{prefix}_{name}_{short}"] = shown(tuple(values))
    return found


def benchmarked() -> dict[str, str]:
    """Substitutions from tables of the benchmark, and what resample shows to other questions."""
    found = {}
    for name, table_name, label, key in BENCHMARKED:
        found[name] = shown(tuple(one["value"] for one in readings(table_name, label, key)))
    for name, network, question in (
        ("two_views", "cifar10-allcnn", "two views"),
        ("half_contrast", "cifar10-allcnn", "half contrast, one answer"),
        ("half_contrast_fashion", "fashion-mnist-allcnn", "half contrast, one answer"),
    ):
        asked = [cell["asked"][question]["forget"] for cell in survivors(network)["resample"]]
        found[f"resample_{name}"] = shown(tuple(100 * one["value"] for one in asked))
    found["largest_cosine"] = f"{_largest_cosine():.2f}"
    return found


@cache
def _tables() -> tuple[packed.Values, packed.Values]:
    return packed.read(ROOT / "results" / "bench")


def results(table_name: str, label: str) -> list[dict[str, Any]]:
    """The last step of every finished cell of a row: one a seed."""
    specs, every = _tables()
    row = next(one for one in specs[table_name]["rows"] if one["label"] == label)
    return [every[cell]["steps"][-1] for cell in row["cells"] if cell in every]


def has_row(table_name: str, label: str) -> bool:
    """Whether a table of the benchmark has a finished cell of this row."""
    rows = _tables()[0][table_name]["rows"]
    return any(one["label"] == label for one in rows) and bool(results(table_name, label))


def readings(table_name: str, label: str, key: str) -> list[dict[str, Any]]:
    """Value, interval and n of one score of a row: one a seed."""
    return [one["values"][key] for one in results(table_name, label)]


def _largest_cosine(forgotten: int = 4) -> float:
    """Between class means of retained classes before and after ESC."""
    after = results("figure3.cpu", "esc")[0]["beside"]["cosines"]["after"]
    kept = [row for place, row in enumerate(after) if place != forgotten]
    return max(value for row in kept for place, value in enumerate(row) if place != forgotten)


def table() -> str:
    """The first table as Markdown."""
    lines = [
        "| | strongest attack: deer | own answer: deer | own answer: others |",
        "|---|---|---|---|",
    ]
    for row in rows():
        lines.append(
            f"| {row.name} | {shown(row.attack)} | {shown(row.own)} | {shown(row.others)} |"
        )
    return "\n".join(lines)


def survivors(network: str) -> dict[str, list[dict[str, Any]]]:
    """The cells of a network by row."""
    found: dict[str, list[dict[str, Any]]] = {}
    for file in sorted((ROOT / "results" / "survive").glob(f"{network}.*.json")):
        cell = json.loads(file.read_text("utf-8"))
        found.setdefault(cell["row"], []).append(cell)
    return found


def picture() -> None:
    """Draw what the model and the strongest attack recognise of the forgotten class."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "unspan"
    from matplotlib import pyplot

    found = rows()
    figure, axes = pyplot.subplots(figsize=(7.2, 3.0), layout="constrained")
    for shift, (label, colour) in zip((0.19, -0.19), COLOURS.items(), strict=True):
        part = [row.own if label.startswith("the model") else row.attack for row in found]
        heights = [statistics.mean(one) for one in part]
        places = [-i + shift for i in range(len(found))]
        bars = axes.barh(places, heights, 0.36, label=label, color=colour)
        axes.bar_label(bars, fmt="%.0f %%", padding=3, fontsize=8)
    axes.axvline(10, color="#6b7280", linewidth=0.8, linestyle=":")
    axes.annotate("chance", (10.5, 0.62), fontsize=8, color="#6b7280", annotation_clip=False)
    axes.set_yticks([-i for i in range(len(found))], [row.name for row in found])
    axes.set_xlim(0, 100)
    axes.set_xlabel("test images of deer that are recognised, % (n = 1,000)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="center right", bbox_to_anchor=(1.0, 0.43))
    figure.savefig(PICTURE, metadata={"Date": None}, facecolor="white")


def main() -> None:
    """Write, or check, the table of the README and the picture."""
    text = README.read_text("utf-8")
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    wanted = text[:start] + "\n" + table() + "\n" + text[end:]
    if "--check" in sys.argv[1:]:
        if text != wanted:
            sys.exit("README.md differs from results/: run python docs/measured.py.")
        return
    README.write_text(wanted, "utf-8")
    picture()


if __name__ == "__main__":
    main()
