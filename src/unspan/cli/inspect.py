"""`unspan inspect`."""

from __future__ import annotations

from unspan.cli import options as option


def inspect(
    folder: option.ErasedFolder,
    as_json: option.PrintReceiptAsJson = False,
    debug: option.Debug = False,
) -> None:
    """Check that the weights are the ones the receipt describes, and print the receipt."""
    from unspan.artifact import inspect as read
    from unspan.artifact.card import how
    from unspan.cli import render
    from unspan.sealing.canonical import canonical

    account = read(folder)
    if as_json:
        print(canonical(account), end="")
        return
    out = render.console(quiet=False)
    request = account["request"]
    render.facts(
        out,
        f"{folder}: the weights file is the one this receipt names (the receipt itself is not"
        " signed)",
        [
            (
                "request",
                (
                    f"{request['kind']}: {', '.join(request['selector'])}"
                    f" ({request['samples_read']} samples)"
                ),
            ),
            ("commitment", request["commitment"]),
            ("method", f"{account['method']['name']} {account['method']['settings']}"),
            ("how", how(account)),
            ("where", account["placement"]["where"]),
            ("form", account["form"]),
            ("created", account["created"]),
            ("before", account["model"]["sha256_before"]),
            ("after", account["model"]["sha256_after"]),
            ("earlier", f"{len(account['previous'])} requests"),
        ],
    )
    if account.get("evaluation"):
        render.accuracies(out, account["evaluation"], account["model"].get("class_names"))
    render.route_table(out, account["access_paths"])
    render.bullets(out, "Protects", account["protects"])
    render.bullets(out, "Does not protect", account["does_not_protect"])
    render.bullets(out, "Notes", account.get("notices", []))
    render.bullets(out, "Warnings", account["warnings"])
