"""The page of the benchmark: tables and figures of `results/bench/report`, without the prints."""

from __future__ import annotations

import re
from typing import Any

from shown import ROOT

from unspan.benchmark import packed
from unspan.benchmark.figures import alternative
from unspan.benchmark.tables import escaped

REPORT = ROOT / "results" / "bench" / "report"
HEAD = """# Results of the benchmark

Tables and figures of the papers, as `unspan bench report` draws them. [The results in ten
minutes](../reading.md) says what they show. `full` is `--budget full`: all training samples. `cpu`
is a reduced budget, shown where a table did not run in full. Bold is best, underlined second best,
† the best of the methods that read no retained data. The published probe (KR) stands in the files
of `results/bench/report`. What the papers print, and why it differs: the
[paper map](../paper-map.md).

| column | meaning |
|---|---|
| D_f, D_r | accuracy in percent on training samples: to forget, to retain |
| D_ft, D_rt, D_t | the same on test samples, and on all of them |
| HM, HM_t | harmonic mean of the accuracy lost on D_f and kept on D_r; the same on test samples |
| MIA | the published loss attack; 50 is chance |
| linear | a linear probe trained to convergence, on test samples of the class |
| strongest attack | the best of it, an MLP, neighbours and, at `full`, ten altered copies |
| its false positives | retained test samples that it takes for the class; – where not kept |
| Avg Gap | mean difference to the retrained network |

Test samples of CIFAR-10: n = 1,000 of the class and 9,000 others. After ±: deviation over seeds; a
row without it ran once. Intervals of every value are in `results/bench/tables/`."""


def page() -> str:
    """The page as Markdown: a section for each spec of which every row ran, at one budget."""
    specs, cells = packed.read(ROOT / "results" / "bench")
    ran = {
        name: one
        for name, one in specs.items()
        if all(set(row["cells"]) & set(cells) for row in one["rows"])
    }
    parts = [HEAD]
    for name in sorted(ran, key=packed.report_order):
        if ran[name]["budget"] != "full" and f"{ran[name]['name']}.full" in ran:
            continue
        title = f"## {_title(ran[name])}: {ran[name]['budget']}"
        parts += [title, *tables(name), *figures(name)]
    return "\n\n".join(parts) + "\n"


def tables(name: str) -> list[str]:
    """The first table of every Markdown file of a spec: what was measured here."""
    found = []
    for file in sorted(REPORT.glob(f"{name}-*.md")):
        text = file.read_text("utf-8")
        title = re.sub(r"^#+ ", "", text.partition("\n")[0]).partition(", after ")[2]
        table = next(part for part in text.split("\n\n") if part.startswith("|"))
        table = (
            table.replace(" ± ", "\u00a0±\u00a0").replace(" ↓", "\u00a0↓").replace(" ↑", "\u00a0↑")
        )
        found += [f"After {title}:", table] if title else [table]
    return found


def figures(name: str) -> list[str]:
    """The drawings of a spec, with what they show as text alternative."""
    files = sorted(REPORT.glob(f"{name}-*.svg"))
    return [
        f"![{escaped(alternative(file))}](../../results/bench/report/{file.name})" for file in files
    ]


def _title(spec: dict[str, Any]) -> str:
    return re.sub(r"\s*\\?\[here: (.*?)\\?\]", r" (here: \1)", spec["title"])
