"""Check a bundle: each thing that is wrong with it in a sentence.  `verify.js` says the same in a browser."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from detection.evidence_report.bundle import (
    AUDIT,
    CONTEXT,
    FORMAT,
    MANIFEST,
    REPORT,
    SIGNATURE,
    VERSION,
    NoBundleError,
    is_as_packed,
    shown,
    signature_file,
    unpack,
)
from detection.evidence_report.chain import broken_entries
from detection.evidence_report.signing import PublicKey

MAX_SENTENCES = 50
SIGNATURE_BYTES = 64


@dataclass(frozen=True)
class Checked:
    """What a check says; `problems` are sentences, and there are none for a report that is as it was signed.

    `fingerprint` is that of the key that it names, empty where it names none; `facts` are the manifest's.
    """

    problems: tuple[str, ...]
    fingerprint: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def check(data: bytes, *, known: Collection[PublicKey], original_sha256: str | None = None) -> Checked:
    """Check the bytes of a bundle; `original_sha256` is that of a video that it is said to be of."""
    try:
        files = unpack(data)
    except NoBundleError as error:
        return Checked((str(error),))
    manifest = _object(files.get(MANIFEST))
    key, signature = _signature(files.get(SIGNATURE))
    problems = [
        *_about_signature(files, key, signature, known),
        *_about_manifest(files, manifest),
        *_about_files(files, manifest),
        *_about_audit(files, manifest),
        *_about_subject(files, manifest, original_sha256),
    ]
    if not problems and not is_as_packed(data, files):
        problems = ["The archive was changed outside of its files."]
    more = len(problems) - MAX_SENTENCES
    problems[MAX_SENTENCES:] = [f"And {more} more."] if more > 0 else []
    return Checked(tuple(problems), key.fingerprint if key else "", manifest or {})


def _about_signature(
    files: Mapping[str, bytes], key: PublicKey | None, signature: bytes, known: Collection[PublicKey]
) -> Iterator[str]:
    if SIGNATURE not in files:
        yield "signature.json is missing: nobody has signed this report."
    elif key is None:
        yield "signature.json is not in its one form: an Ed25519 signature, its public key, and nothing else."
    else:
        if key not in known:
            yield (
                f"It is signed by a key that is not known here, with the fingerprint {key.fingerprint}."
                " Whoever sent it can tell you theirs by another way."
            )
        if MANIFEST in files and not key.verifies(signature, CONTEXT + files[MANIFEST]):
            yield "The signature does not match: manifest.json is not as it was signed."


def _about_manifest(files: Mapping[str, bytes], manifest: dict[str, Any] | None) -> Iterator[str]:
    if MANIFEST not in files:
        yield "manifest.json is missing: nothing says what belongs to this report."
    elif manifest is None or manifest.get("format") != FORMAT:
        yield "manifest.json is not that of an evidence report."
    elif manifest.get("version") != VERSION:
        yield f"The report is of version {shown(str(manifest.get('version')))}, which is not known here."


def _about_files(files: Mapping[str, bytes], manifest: dict[str, Any] | None) -> Iterator[str]:
    if manifest is None:
        return
    listed: dict[str, dict[str, Any]] = {}
    entries = manifest.get("files")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("name"), str):
            listed[entry["name"]] = entry
    if not listed:
        yield "The manifest names no files."
    for name, entry in listed.items():
        if name not in files:
            yield f"{shown(name)} is missing."
        elif len(files[name]) != entry.get("bytes") or hashlib.sha256(files[name]).hexdigest() != entry.get("sha256"):
            yield f"{shown(name)} is not as it was signed."
    for name in files:
        if name not in listed and name not in (MANIFEST, SIGNATURE):
            yield f"{shown(name)} was added after the signing."


def _about_audit(files: Mapping[str, bytes], manifest: dict[str, Any] | None) -> Iterator[str]:
    audit, stated = _object(files.get(AUDIT)), (manifest or {}).get("audit")
    if AUDIT in files and manifest is not None:
        if audit is None or not isinstance(stated, dict):
            yield "audit.json holds no entries of an audit log."
        else:
            yield from broken_entries(audit, stated)


def _about_subject(
    files: Mapping[str, bytes], manifest: dict[str, Any] | None, original_sha256: str | None
) -> Iterator[str]:
    if manifest is None:
        return
    stated = manifest.get("video")
    report = _object(files.get(REPORT)) or {}
    video = report.get("video")
    if REPORT in files and (
        not isinstance(video, dict)
        or not isinstance(stated, dict)
        or video.get("id") != stated.get("id")
        or video.get("sha256") != stated.get("sha256")
    ):
        yield "report.json is about another video than the manifest."
    if original_sha256 is not None and (not isinstance(stated, dict) or stated.get("sha256") != original_sha256):
        yield "The video is not the one that this report is of: its SHA-256 is another."


def _object(content: bytes | None) -> dict[str, Any] | None:
    """Return the JSON object, or None."""
    try:
        value = json.loads((content or b"").decode())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _signature(content: bytes | None) -> tuple[PublicKey | None, bytes]:
    """Return key and signature, or None and nothing where the file differs in a byte from what they are written as."""
    stated = _object(content) or {}
    try:
        key = PublicKey.from_text(str(stated.get("public_key")))
        signature = base64.b64decode(str(stated.get("signature")), validate=True)
    except ValueError:
        return None, b""
    if len(signature) != SIGNATURE_BYTES or signature_file(key, signature) != content:
        return None, b""
    return key, signature
