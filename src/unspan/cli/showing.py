"""What `unspan erase` prints when it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unspan.sealing.canonical import canonical

if TYPE_CHECKING:
    from unspan.artifact.deletion import Deletion


def show(o: dict[str, Any], deletion: Deletion, out: Any) -> None:
    """Print what was done, measured and left; the receipt as JSON where `--json` asks for it."""
    from unspan.artifact.card import guarded, how, read_of, used_of
    from unspan.cli import render
    from unspan.erasure.remembering import Remembered

    account = deletion.receipt
    fit = account["method"]["fit"]
    if account["status"] == "already erased":
        out.print("Already erased: the removed span did not grow. The model is the same.")
    render.facts(
        out,
        "Done",
        [
            ("method", f"{account['method']['name']}, {how(account)}"),
            ("where", account["placement"]["where"]),
            ("read", f"{read_of(fit)}, in {account['seconds']['total']:.1f} s"),
            ("used", used_of(fit)),
            ("written", o["out"]),
            ("keep secret", f"{o['out']}.private (needed for further requests; never ship it)"),
        ],
    )
    if account["method"].get("trials"):
        render.trials(out, account["method"]["trials"])
    if fit.get("history"):
        render.history(out, fit["history"])
    if account["evaluation"]:
        render.accuracies(out, account["evaluation"], account["model"]["class_names"])
    for when, memory in account.get("memory", {}).items():
        said = Remembered.from_dict(memory).sentence()
        out.print(f"{when.capitalize()}: {said}.", markup=False)
    if "collateral" in account:
        out.print(f"Samples to keep: {guarded(account['collateral'])}.", markup=False)
    if account["access_paths"]:
        render.route_table(out, account["access_paths"])
    render.bullets(out, "Does not protect", account["does_not_protect"])
    render.bullets(out, "Notes", account["notices"])
    render.bullets(out, "Warnings", account["warnings"])
    if o["as_json"]:
        print(canonical(account), end="")
