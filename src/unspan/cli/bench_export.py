"""What `unspan bench export` does."""

from __future__ import annotations

from typing import Any


def export_spec(o: dict[str, Any]) -> None:
    """Write the split, outputs and signals of one spec.

    Args:
        o: values of the options by name.
    """
    from unspan.benchmark.cell import Bench
    from unspan.benchmark.export import export
    from unspan.benchmark.runner import own_cells
    from unspan.benchmark.store import Store
    from unspan.cli.bench_run import already_there, given_weights, silence, specs_of
    from unspan.cli.progress import line
    from unspan.cli.render import console
    from unspan.run import Run

    screen = console(o["quiet"])
    if o["quiet"]:
        silence()
    given = given_weights(o)
    (spec,) = specs_of({**o, "spec": [o["spec"]]}, given)

    def tell(text: str) -> None:
        screen.print(text, markup=False)

    for text in already_there([spec], o):
        tell(text)
    with line(screen) as report:
        run = Run(device=o["device"] or own_cells(), batch_size=o["batch_size"], progress=report)
        bench = Bench(Store(o["out"]), run, o["data_root"], given)
        bench.check(spec.cells(), spec.places())
        folders = export(spec, bench, o["to"], tell)
    tell(f"Written: {', '.join(str(one) for one in folders)}. What the files hold: about.json.")
