"""What README and docs say of `experiments/`, read from `results/`."""

from __future__ import annotations

import json
import statistics
from typing import Any

from shown import ROOT, shown


def survivors(network: str) -> dict[str, list[dict[str, Any]]]:
    """The cells of a network by row."""
    found: dict[str, list[dict[str, Any]]] = {}
    for file in sorted((ROOT / "results" / "survive").glob(f"{network}.*.json")):
        cell = json.loads(file.read_text("utf-8"))
        found.setdefault(cell["row"], []).append(cell)
    return found


def attack_values(layer: dict[str, Any]) -> list[float]:
    """What each attack of a cell reads, as shares."""
    return [reading["value"] for reading in layer.values() if isinstance(reading, dict)]


def baked() -> dict[str, str]:
    """What pages say of `experiments/bake.py` with and without held-out images: accuracy on others,
    the strongest attack at the last layer, the largest excess over the retrained network at any
    layer, and images processed as a share of retraining.
    """
    rows = json.loads((ROOT / "results" / "bake.json").read_text("utf-8"))
    reference = rows["retrained"]["measured"]["layers"]
    found = {}
    for kind, name in (("baked", "bake_alone"), ("baked, held-out images", "bake_held_out")):
        own = [rows[f"{kind}, seed {seed}"] for seed in range(3)]
        layers = [one["measured"]["layers"] for one in own]
        shares = [100 * one["images"] / (10 * 45_000) for one in own]
        spread = min(shares), max(shares)
        excess = max(
            100 * (one[layer][attack]["value"] - reading["value"])
            for one in layers
            for layer, readings in reference.items()
            for attack, reading in readings.items()
            if isinstance(reading, dict)
        )
        found |= {
            f"{name}_kept": shown(
                tuple(100 * one["measured"]["remaining"]["value"] for one in own)
            ),
            f"{name}_last": shown(
                tuple(100 * max(attack_values([*one.values()][-1])) for one in layers)
            ),
            f"{name}_excess": f"{excess:.1f}",
            f"{name}_share": "–".join(dict.fromkeys(f"{one:.0f}" for one in spread)) + " %",
        }
    return found


def text_layers() -> dict[str, str]:
    """What pages say of `experiments/every_layer.py` on the text classifier: means over networks,
    and the largest reading of a baked one above the upper end of the intervals of retrained ones.
    """
    path = ROOT / "results" / "layers" / "banking77.json"
    rows = json.loads(path.read_text("utf-8"))["rows"]
    of = {
        kind: [row for row in rows if row["row"] == kind]
        for kind in ("original", "retrain", "bake")
    }
    found = {}
    for kind, own in of.items():
        last = [max(attack_values([*row["read"]["layers"].values()][-1])) for row in own]
        tuned = [one["forget"] for row in own for one in row["trained on"] if one["m"] == 100]
        found |= {
            f"text_{kind}_kept": _mean([row["read"]["others"]["value"] for row in own]),
            f"text_{kind}_own": _mean([row["read"]["forget"]["value"] for row in own]),
            f"text_{kind}_last": _mean(last),
            f"text_{kind}_tuned": _mean([one["value"] for one in tuned]),
            f"text_{kind}_networks": str(len(own)),
        }
    above = max(
        reading["value"]
        - max(one["read"]["layers"][layer][attack]["high"] for one in of["retrain"])
        for row in of["bake"]
        for layer, readings in row["read"]["layers"].items()
        for attack, reading in readings.items()
        if isinstance(reading, dict)
    )
    return found | {"text_bake_above": f"{100 * max(above, 0):.1f}"}


def _mean(shares: list[float]) -> str:
    return f"{100 * statistics.fmean(shares):.1f} %"


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


def relearned() -> dict[str, str]:
    """What pages say of `experiments/relearn.py`: deer named after fine-tuning with so many images
    a class, the mean and the range over runs, and others named.
    """
    rows = json.loads((ROOT / "results" / "relearn.json").read_text("utf-8"))["rows"]
    found = {}
    for kind in ("original", "retrained", "baked"):
        for m in (10, 100):
            own = [one for one in rows if one["network"].startswith(kind) and one["samples"] == m]
            deer, others = (
                [100 * one[key]["value"] for one in own] for key in ("forget", "others")
            )
            found |= {
                f"relearn_{kind}_{m}": f"{statistics.fmean(deer):.1f} %",
                f"relearn_{kind}_{m}_range": f"{min(deer):.0f}–{max(deer):.0f}",
                f"relearn_{kind}_{m}_others": f"{statistics.fmean(others):.1f} %",
            }
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


def run_time() -> dict[str, str]:
    """What pages say of `benchmarks/figure5.py`: ratios, and CPU seconds of methods."""
    found = json.loads((ROOT / "results" / "bench-figure5.json").read_text("utf-8"))
    ratios, seconds = found["ratios of CPU seconds"], found["seconds"]
    return {
        "lau_over_esc": f"{ratios['LAU over ESC']:.2f}",
        "lau_over_esc_every_step": f"{ratios['LAU over ESC, network in every step']:.2f}",
        "esc_t_over_esc": f"{ratios['ESC-T over ESC']:.2f}",
        "pass_of_esc": f"{100 * ratios['forward pass, share of ESC']:.0f} %",
        "pass_of_lau": f"{100 * ratios['forward pass, share of LAU']:.0f} %",
        "esc_seconds": f"{seconds['esc']['cpu']:.1f}",
        "lau_seconds": f"{seconds['lau']['cpu']:.1f}",
        **{
            f"{name}_seconds_range": "{:.1f}–{:.1f}".format(*seconds[name]["cpu range"])
            for name in ("esc", "lau")
        },
        "lau_epochs": str(seconds["lau, network in every step"]["epochs"]),
        "timed_rounds": str(found["rounds"]),
        **{
            f"{name.replace('-', '_')}_minutes": f"{seconds[name]['cpu'] / 60:.0f}"
            for name in ("neggrad", "finetune", "salun")
        },
    }


def people() -> dict[str, str]:
    """What pages say of `experiments/people.py`: people_faces_redraw_5_named, and the like."""
    found = {}
    for data in ("faces", "speakers"):
        path = ROOT / "results" / f"people-{data}.json"
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            method = cell["method"].lower().replace(", k = ", "_").replace(", ", "_")
            method = method.replace(" ", "_")
            name = f"people_{data}_{method}_{cell['samples']}"
            named = max(cell["rank-1, mean"], cell["rank-1, nearest"], key=lambda one: one["mean"])
            found[f"{name}_named"] = f"{100 * named['mean']:.1f} %"
            found[f"{name}_interval"] = f"{100 * named['low']:.1f}–{100 * named['high']:.1f}"
            searches = (cell["rank-1, mean"], cell["rank-1, nearest"])
            worst = max(one["largest"] for one in searches)
            found[f"{name}_worst"] = f"{100 * worst:.0f} %"
            if "trained probe" in cell:
                found[f"{name}_probed"] = f"{100 * cell['trained probe']['mean']:.1f} %"
            found[f"{name}_alike"] = f"{cell['same person']['mean']:.2f}"
            lost = min(cell["others, mean"]["mean"], cell["others, nearest"]["mean"])
            found[f"{name}_lost"] = f"{-100 * lost:.1f}"
    return found


def people_queries() -> dict[str, str]:
    """What pages say of `experiments/people_queries.py`: queries_redraw_mean_of_views, and such."""
    found = {}
    for cell in json.loads((ROOT / "results" / "people-queries.json").read_text("utf-8"))["cells"]:
        method = cell["method"].lower().replace(", k = ", "_")
        for key, one in cell.items():
            if not isinstance(one, dict):
                continue
            name = f"queries_{method}_{key.replace(', ', '_').replace(' ', '_')}"
            told = key.startswith("told")
            found[name] = f"{one['mean']:.2f}" if told else f"{100 * one['mean']:.1f} %"
    return found


def topics() -> dict[str, str]:
    """What pages say of `experiments/topics.py`: topics_banking77_redraw_recall, and the like."""
    found = {}
    for data in ("banking77", "ag_news_test"):
        path = ROOT / "results" / f"topics-{data}.json"
        result = json.loads(path.read_text("utf-8"))
        for cell in result["cells"]:
            method = cell["method"].split(" % ")[0].lower().replace(", k = ", "_")
            name = f"topics_{data}_{method}".replace(", ", "_").replace(".", "_").replace(" ", "_")
            found |= {
                f"{name}_{key.replace(', ', '_').replace(' ', '_')}": _of_topics(key, one["mean"])
                for key, one in cell.items()
                if isinstance(one, dict)
            }
            if "attacks" not in cell and "recall" in cell:
                found[f"{name}_interval"] = "{:.1f}–{:.1f}".format(
                    *(100 * cell["recall"][end] for end in ("low", "high"))
                )
                found[f"{name}_worst"] = f"{100 * cell['recall']['largest']:.0f} %"
            if "attacks" not in cell:
                found[f"{name}_refused"] = str(cell["refused"])
        found[f"topics_{data}_erased"] = str(result["erased"])
    return found


def _of_topics(key: str, value: float) -> str:
    """A mean as pages show it: an AUC, points that others lose, or percent."""
    if key in ("same topic", "known from the file", "linear probe", "quadratic probe"):
        return f"{value:.2f}"
    if key in ("others, recall", "others, precision"):
        return f"{max(-100 * value, 0.0):.1f}"
    return f"{100 * value:.1f} %"


def samples() -> dict[str, str]:
    """What pages say of `experiments/samples.py`: samples_digits_random_original_lira, and such."""
    found = json.loads((ROOT / "results" / "samples.json").read_text("utf-8"))
    values = {}
    for title, request in found["requests"].items():
        case = f"samples_{_key(title)}"
        for name in ("LiRA", "RMIA", "two-sided loss"):
            low, high = request["retrained"][name]["range"]
            values[f"{case}_retrained_{_key(name.lower())}"] = f"{low:.2f}–{high:.2f}"
        low, high = request["retrained"]["LiRA, relearned"]["range"]
        values[f"{case}_retrained_relearned"] = f"{low:.2f}–{high:.2f}"
        for label, row in request["rows"].items():
            if "error" in row:
                continue
            key = f"{case}_{_key(label)}"
            for name in ("LiRA", "RMIA", "two-sided loss"):
                if name in row:
                    values[f"{key}_{_key(name.lower())}"] = f"{row[name]['auc']:.2f}"
            if "LiRA, relearned" in row:
                values[f"{key}_relearned"] = f"{row['LiRA, relearned']['auc']:.2f}"
            values[f"{key}_outside"] = f"{abs(row['missed']['classes']):.1f}"
            values[f"{key}_share"] = f"{100 * row['share']:.0f} %"
    return values


def _key(text: str) -> str:
    return text.replace(", ", "_").replace("-", "_").replace(" ", "_")


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


def ray_passes() -> dict[str, str]:
    """What pages say of `benchmarks/ray_passes.py`: two workers and one."""
    found = json.loads((ROOT / "results" / "bench-ray.json").read_text("utf-8"))
    load = statistics.median(one["load"] for one in found["rounds"])
    return {
        "ray_processors": str(found["processors"]),
        "ray_load": f"{load:.1f}",
        "ray_times": f"{found['times']['seconds']['two workers, of one']:.1f}",
        "ray_busiest": f"{found['times']['busiest']['two workers, of one']:.1f}",
    }


def resample_asked() -> dict[str, str]:
    """What resample shows to other questions than one answer to one image."""
    found = {}
    for name, network, question in (
        ("two_views", "cifar10-allcnn", "two views"),
        ("half_contrast", "cifar10-allcnn", "half contrast, one answer"),
        ("half_contrast_fashion", "fashion-mnist-allcnn", "half contrast, one answer"),
    ):
        asked = [cell["asked"][question]["forget"] for cell in survivors(network)["resample"]]
        found[f"resample_{name}"] = shown(tuple(100 * one["value"] for one in asked))
    return found
