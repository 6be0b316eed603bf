"""Bundles of evidence reports: a small one, and what somebody might do to it."""

from __future__ import annotations

import base64
import hashlib
import json
import string
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from detection.evidence_report import bundle, signing
from detection.evidence_report.chain import entry_hash
from detection.evidence_report.verification import check

OURS = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
THEIRS = Ed25519PrivateKey.from_private_bytes(bytes(32))
KNOWN = [signing.public_key_of(OURS)]
Files = dict[str, bytes]


def trail(count: int = 5, ours: tuple[int, ...] = (2, 4)) -> tuple[dict[str, Any], dict[str, Any]]:
    """A log of `count` entries, of which two are the video's."""
    entries: list[dict[str, Any]] = []
    previous = "0" * 64
    for number in range(1, count + 1):
        entry = {
            "number": number, "at": "2026-11-30T12:00:00.000000+00:00", "action": "media_viewed", "actor": "zoë",
            "actor_id": 3, "address": "::1", "subject": "video:x", "facts": {"b": [1, None], "a": "\x7f\n\"é😀"},
            "previous": previous,
        }  # fmt: skip
        previous = entry["hash"] = entry_hash(entry)
        entries.append(entry)
    first = ours[0]
    values = {
        "scope": "all", "entries": [entries[n - 1] for n in ours], "first": first,
        "hashes": [entry["hash"] for entry in entries[first - 1 :]], "archived_until": 0,
    }  # fmt: skip
    return values, {"entries": list(ours), "last": count, "head": previous}


def made(key: Ed25519PrivateKey = OURS, changes: Files | None = None) -> bytes:
    """A report of three pictures and two entries."""
    values, stated = trail()
    video = {"id": "v", "sha256": hashlib.sha256(b"video").hexdigest()}
    files = {
        "report.json": bundle.to_json({"video": video}),
        "audit.json": bundle.to_json(values),
        "faces/1-00.png": b"one", "faces/1-01.png": b"two", "heatmaps/1-00.jpg": b"three",
    }  # fmt: skip
    facts = {"made_at": "2026-11-30T12:00:00+00:00", "video": video, "audit": stated}
    return bundle.build(files | (changes or {}), facts=facts, key=key)


def says(data: bytes, **options: Any) -> list[str]:
    return list(check(data, known=KNOWN, **options).problems)


def repacked(change: Callable[[Files], object]) -> bytes:
    """A bundle whose files somebody changed, and made an archive of again as we do."""
    files = bundle.unpack(made())
    change(files)
    return bundle.pack(files)


def set_to(name: str, content: bytes) -> Callable[[Files], object]:
    return lambda files: files.update({name: content})


def edited(name: str, edit: Callable[[Any], object]) -> Callable[[Files], object]:
    def change(files: Files) -> None:
        value = json.loads(files[name])
        edit(value)
        files[name] = bundle.to_json(value)

    return change


def without_entry(audit: Any) -> None:
    del audit["entries"][1]


def with_other_actor(audit: Any) -> None:
    audit["entries"][0]["actor"] = "mallory"


def with_shorter_chain(audit: Any) -> None:
    del audit["hashes"][1]


def respelled(old: bytes, new: bytes) -> Callable[[Files], object]:
    """signature.json with something written in another way."""

    def change(files: Files) -> None:
        assert old in files["signature.json"]
        files["signature.json"] = files["signature.json"].replace(old, new)

    return change


def with_unused_bit(name: str) -> Callable[[Files], object]:
    """Other base64 for the same bytes: its last digit has bits that say nothing."""

    def change(value: Any) -> None:
        text = value[name].rstrip("=")
        digits = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
        other = text[:-1] + digits[digits.index(text[-1]) ^ 1] + "=" * (len(value[name]) - len(text))
        assert base64.b64decode(other, validate=True) == base64.b64decode(value[name])
        value[name] = other

    return edited("signature.json", change)


NOT_THE_FORM = "signature.json is not in its one form: an Ed25519 signature, its public key, and nothing else."
MANIPULATED: dict[str, tuple[Callable[[Files], object], list[str]]] = {
    "a changed byte": (set_to("faces/1-00.png", b"onf"), ["faces/1-00.png is not as it was signed."]),
    "a missing crop": (lambda files: files.pop("faces/1-01.png"), ["faces/1-01.png is missing."]),
    "a crop that was added": (set_to("faces/1-02.png", b"x"), ["faces/1-02.png was added after the signing."]),
    "another score": (
        edited("report.json", lambda report: report.update(fake_probability=0.1)),
        ["report.json is not as it was signed."],
    ),
    "another video": (
        edited("report.json", lambda report: report["video"].update(sha256="0" * 64)),
        ["report.json is not as it was signed.", "report.json is about another video than the manifest."],
    ),
    "an entry removed": (
        edited("audit.json", without_entry),
        ["audit.json is not as it was signed.", "Entry 4 of the audit log is missing."],
    ),
    "an entry changed": (
        edited("audit.json", with_other_actor),
        ["audit.json is not as it was signed.", "Entry 2 of the audit log is not as it was written."],
    ),
    "a shorter chain": (
        edited("audit.json", with_shorter_chain),
        [
            "audit.json is not as it was signed.",
            "The chain of the audit log is not whole: hashes are missing from it.",
            "Entry 4 of the audit log is not the one that the chain has in its place.",
            "Entry 4 of the audit log does not follow from the one before it.",
        ],
    ),
    "no manifest": (
        lambda files: files.pop("manifest.json"),
        ["manifest.json is missing: nothing says what belongs to this report."],
    ),
    "no signature": (
        lambda files: files.pop("signature.json"),
        ["signature.json is missing: nobody has signed this report."],
    ),
    "a manifest that leaves a crop out": (
        lambda files: edited("manifest.json", lambda m: m["files"].pop(1))(files),
        ["The signature does not match: manifest.json is not as it was signed.",
         "faces/1-00.png was added after the signing."],
    ),
    "another time": (
        edited("manifest.json", lambda manifest: manifest.update(made_at="2020-01-01T00:00:00+00:00")),
        ["The signature does not match: manifest.json is not as it was signed."],
    ),
    "nonsense for a signature": (
        set_to("signature.json", b'{"algorithm": "Ed25519", "public_key": "x", "signature": "y"}'),
        [NOT_THE_FORM],
    ),
    "a statement beside the signature": (
        edited("signature.json", lambda signature: signature.update(statement="Certified genuine")), [NOT_THE_FORM],
    ),
    "a signature laid out otherwise": (respelled(b"\n", b"\r\n"), [NOT_THE_FORM]),
    "a name twice": (respelled(b"{", b'{"signature": "Certified genuine",'), [NOT_THE_FORM]),
    "a signature with escapes": (respelled(b"Ed25519", b"\\u0045d25519"), [NOT_THE_FORM]),
    "a key in a list": (
        edited("signature.json", lambda signature: signature.update(public_key=[signature["public_key"]])),
        [NOT_THE_FORM],
    ),
    "a key without its padding": (respelled(b'=",', b'",'), [NOT_THE_FORM]),
    "an unused bit of the key": (with_unused_bit("public_key"), [NOT_THE_FORM]),
    "an unused bit of the signature": (with_unused_bit("signature"), [NOT_THE_FORM]),
    "a longer signature": (
        edited("signature.json", lambda signature: signature.update(signature="AAAA" + signature["signature"])),
        [NOT_THE_FORM],
    ),
    "an algorithm of another name": (respelled(b"Ed25519", b"ed25519"), [NOT_THE_FORM]),
    "nothing for a signature": (set_to("signature.json", b""), [NOT_THE_FORM]),
    "nonsense for a manifest": (
        set_to("manifest.json", b"[" * 100_000),
        ["The signature does not match: manifest.json is not as it was signed.",
         "manifest.json is not that of an evidence report."],
    ),
}  # fmt: skip
