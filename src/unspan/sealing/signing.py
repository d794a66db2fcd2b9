"""Ed25519 signatures of sealed folders, in the form of DSSE around an in-toto statement.

DSSE: https://github.com/secure-systems-lab/dsse. in-toto: https://in-toto.io/Statement/v1.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from unspan.errors import ModelError, OutputError, UsageError
from unspan.sealing.canonical import canonical
from unspan.sealing.files import content_of
from unspan.sealing.manifest import SIGNATURE, changed_files, read_manifest
from unspan.sealing.statement import statement_of

_TYPE = "application/vnd.in-toto+json"
_MOST = 1 << 20  # bytes of a key or a signature


def new_key(path: Path) -> Path:
    """Write a new private key (PEM, readable by its owner only), and the public one beside it.

    Returns:
        The path of the public key.

    Raises:
        OutputError: a file is there already, or cannot be written.
    """
    private = Ed25519PrivateKey.generate()
    secret = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    beside = path.with_name(path.name + ".pub")
    _write_new(path, secret, 0o600)
    _write_new(beside, public, 0o644)
    return beside


def sign(folder: Path, key: Path) -> str:
    """Sign a sealed folder: `signature.json` beside its manifest.

    Args:
        folder: of a deletion or of an audit.
        key: file of an Ed25519 private key (PEM).

    Returns:
        Fingerprint of the key.

    Raises:
        ModelError: the folder is not as it was sealed.
        UsageError: the file holds no such key.
    """
    private = _private(key)
    manifest = read_manifest(folder)
    if problems := changed_files(folder, manifest):
        raise ModelError(f"{folder} is not signed: {'; '.join(problems)}.")
    payload = canonical(statement_of(folder, manifest)).encode()
    name = _fingerprint(private.public_key())
    envelope = {
        "payloadType": _TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [
            {"keyid": name, "sig": base64.b64encode(private.sign(_encoded(payload))).decode()}
        ],
    }
    _write(folder / SIGNATURE, canonical(envelope).encode())
    return name


def check_signature(folder: Path, key: Path) -> str:
    """Check the signature of a folder and that it is of what the folder holds now.

    Args:
        folder: of a deletion or of an audit.
        key: file of an Ed25519 public key (PEM).

    Returns:
        Fingerprint of the key.

    Raises:
        ModelError: there is no signature, it is of another key, or of something else.
        UsageError: the file holds no such key.
    """
    public = _public(key)
    payload, signatures = _envelope(folder / SIGNATURE)
    name = _fingerprint(public)
    if not any(_holds(public, payload, one) for keyid, one in signatures if keyid == name):
        raise ModelError(f"{folder / SIGNATURE} is no signature of the key {name}.")
    said = canonical(statement_of(folder, read_manifest(folder))).encode()
    if payload != said:
        raise ModelError(f"{folder / SIGNATURE} signs something else than the folder holds.")
    return name


def signers(folder: Path) -> list[str]:
    """Fingerprints of the keys that a signature names; nothing is checked."""
    return [keyid for keyid, _ in _envelope(folder / SIGNATURE)[1]]


def _envelope(path: Path) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Payload, and signatures by key."""
    raw = content_of(path, _MOST)
    try:
        held = json.loads(raw)
        payload = base64.b64decode(held["payload"], validate=True)
        signatures = [
            (str(one["keyid"]), base64.b64decode(one["sig"], validate=True))
            for one in held["signatures"]
        ]
        right = held["payloadType"] == _TYPE and raw == canonical(held).encode()
    except (ValueError, KeyError, TypeError, binascii.Error, RecursionError) as error:
        raise ModelError(f"{path} is damaged ({error}). Sign the folder again.") from error
    if not right:
        raise ModelError(f"{path} is damaged: it is not in the form that unspan writes.")
    return payload, signatures


def _encoded(payload: bytes) -> bytes:
    """What DSSE signs: the type and the payload with their lengths."""
    parts = (_TYPE.encode(), payload)
    return b"DSSEv1 " + b" ".join(b"%d %s" % (len(one), one) for one in parts)


def _holds(public: Ed25519PublicKey, payload: bytes, signature: bytes) -> bool:
    try:
        public.verify(signature, _encoded(payload))
    except InvalidSignature:
        return False
    return True


def _fingerprint(public: Ed25519PublicKey) -> str:
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def _private(path: Path) -> Ed25519PrivateKey:
    try:
        found = serialization.load_pem_private_key(content_of(path, _MOST), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{path} holds no private key without a password (PEM).") from error
    if not isinstance(found, Ed25519PrivateKey):
        raise UsageError(f"{path} holds a key of another kind than Ed25519.")
    return found


def _public(path: Path) -> Ed25519PublicKey:
    try:
        found = serialization.load_pem_public_key(content_of(path, _MOST))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{path} holds no public key (PEM).") from error
    if not isinstance(found, Ed25519PublicKey):
        raise UsageError(f"{path} holds a key of another kind than Ed25519.")
    return found


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
