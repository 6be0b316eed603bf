"""C2PA manifests ("content credentials"): is there one, and what does it say.

Reading one is the work of `c2pa-python`, a library in native code: the product does it in a process of its own
(`worker.process.credentials`), and only where `has_manifest` finds the box that holds one.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ml.video.provenance.claims import clean

C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
MAX_BOXES = 4096
MAX_ITEMS = 20
UNREADABLE = "There is a C2PA manifest, but it cannot be read."
SETTINGS = {
    # Nothing is ever fetched: neither a manifest that lies elsewhere nor word on a certificate.
    "verify": {
        "verify_after_reading": True, "verify_trust": True, "remote_manifest_fetch": False, "ocsp_fetch": False,
    }
}  # fmt: skip
_GENERATED = ("trainedalgorithmicmedia", "compositewithtrainedalgorithmicmedia", "algorithmicmedia")


class Seekable(Protocol):
    """What is asked of a file: a local one has it, and one in a bucket."""

    def read(self, count: int, /) -> bytes:
        """Return at most `count` bytes."""

    def seek(self, offset: int, whence: int = ..., /) -> int:
        """Go to a place, and return it."""


def has_manifest(file: Seekable) -> bool:
    """Return whether an MP4 or QuickTime file has the top-level box of C2PA; its boxes are stepped over, not read."""
    position, size_of_file = 0, file.seek(0, 2)
    for _ in range(MAX_BOXES):
        file.seek(position)
        head = file.read(32)
        if len(head) < 8:
            return False
        size, kind = struct.unpack_from(">I4s", head)
        begin = 8
        if size == 1 and len(head) >= 16:
            (size,) = struct.unpack_from(">Q", head, 8)
            begin = 16
        if not kind.isascii() or (position == 0 and kind not in (b"ftyp", b"uuid", b"wide", b"free", b"skip")):
            return False
        if kind == b"uuid" and head[begin : begin + 16] == C2PA_UUID:
            return True
        if size < begin:  # 0: to the end of the file; less than a head: damaged
            return False
        position += size
        if position >= size_of_file:
            return False
    return False


def read_manifest(path: Path, trust_anchors: str = "") -> dict[str, Any]:
    """Return what `describe` makes of the file's manifest; `trust_anchors` is PEM.  In this process: see the module."""
    import c2pa

    settings: dict[str, Any] = dict(SETTINGS)
    if trust_anchors:
        settings["trust"] = {"trust_anchors": trust_anchors}
    context = c2pa.Context.from_dict(settings)
    try:
        with path.open("rb") as file, c2pa.Reader("video/mp4", file, context=context) as reader:
            return describe(json.loads(reader.json()), str(reader.get_validation_state()))
    except (c2pa.C2paError, ValueError):
        return unreadable()


def unreadable() -> dict[str, Any]:
    """Return the description of a manifest that cannot be read."""
    return {"state": "unreadable", "sentence": UNREADABLE}


def describe(store: Any, state: str) -> dict[str, Any]:
    """Return what people want to know of a manifest store, as c2pa's reader gives it in JSON; of any shape."""
    store = _mapping(store)
    active = _mapping(_mapping(store.get("manifests")).get(str(store.get("active_manifest"))))
    signature = _mapping(active.get("signature_info"))
    signer = clean(", ".join(str(signature[name]) for name in ("common_name", "issuer") if signature.get(name)))
    results = _mapping(_mapping(store.get("validation_results")).get("activeManifest"))
    failures = [clean(str(_mapping(item).get("code", ""))) for item in _list(results.get("failure"))]
    actions = list(_actions(active))
    by = f"It is signed by {signer}" if signer else "Its signer is not named"
    sentence = {
        "Trusted": f"{by}, on your trust list.",
        "Valid": f"{by}: not on your trust list.",
    }.get(state, "The manifest does not match: the file was changed after it was signed, or the manifest was.")
    sources = [source.rsplit("/", 1)[-1] for _, source in actions if source]
    return {
        "state": {"Trusted": "trusted", "Valid": "untrusted"}.get(state, "invalid"),
        "sentence": sentence,
        "signer": signer,
        "signed_at": clean(str(signature.get("time") or "")),
        "title": clean(str(active.get("title") or "")),
        "made_with": [
            clean(f"{_mapping(info).get('name', '')} {_mapping(info).get('version', '')}")
            for info in _list(active.get("claim_generator_info"))
        ],
        "actions": [action for action, _ in actions],
        "sources": sources,
        "says_generated": any(source.lower() in _GENERATED for source in sources),
        "ingredients": [
            clean(str(_mapping(item).get("title") or "without a name")) for item in _list(active.get("ingredients"))
        ],
        "failures": failures,
    }


def _actions(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (action, digital source type) of the manifest's actions."""
    found = []
    for assertion in _list(manifest.get("assertions")):
        if str(_mapping(assertion).get("label", "")).startswith("c2pa.actions"):
            for action in _list(_mapping(_mapping(assertion).get("data")).get("actions")):
                values = _mapping(action)
                found.append((clean(str(values.get("action", ""))), clean(str(values.get("digitalSourceType") or ""))))
    return found[:MAX_ITEMS]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value[:MAX_ITEMS] if isinstance(value, list) else []
