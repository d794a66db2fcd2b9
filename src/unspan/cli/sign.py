"""`unspan sign`."""

from __future__ import annotations

from unspan.cli import options as option
from unspan.errors import UsageError


def sign(
    folder: option.SignedFolder,
    key: option.PrivateKey = None,
    new_key: option.NewKey = False,
    debug: option.Debug = False,
) -> None:
    """Sign an erased model or an audit with your key (Ed25519), or make a key.

    unspan sign me.pem --new-key writes me.pem, which stays with you, and me.pem.pub for others.
    unspan sign erased/ --key me.pem writes erased/signature.json, and unspan verify erased/ --key
    me.pem.pub checks it. The signature covers the seal, so that no file can be changed after it.

    It says who signed what. It does not say that the content is true.
    """
    from unspan.cli import render

    try:
        from unspan.sealing import signing
    except ModuleNotFoundError as error:
        raise UsageError(f"Signing needs {error.name}: pip install 'unspan[sign]'.") from error
    console = render.console(quiet=False)
    if new_key:
        public = signing.new_key(folder)
        render.facts(
            console, "Done", [("private key", f"{folder}: keep it"), ("public key", public)]
        )
        return
    if key is None:
        raise UsageError("Name your private key: --key me.pem. Make one with --new-key.")
    name = signing.sign(folder, key)
    render.facts(console, "Done", [("signed by", name), ("written", folder / "signature.json")])
