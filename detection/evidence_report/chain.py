"""Entries of the audit log in a bundle, and the chain of hashes that binds them.

    {"scope": "all" | "own", "entries": [...], "first": number, "hashes": [...], "archived_until": number}

`hashes` are those of all entries from number `first` to the end of the log when the report was made, also of those
about other things, of which nothing but the hash is told; entries before `first` stand for themselves.  An entry's hash
is the SHA-256 of the hash before it and its content as canonical JSON (`detection.services.ops.audit`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

CONTENT = ("number", "at", "action", "actor", "actor_id", "address", "subject", "facts")


def entry_hash(entry: Mapping[str, Any]) -> str:
    """Return the hash that an entry of these values has."""
    content = {name: entry.get(name) for name in CONTENT}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(f"{entry.get('previous')}{canonical}".encode()).hexdigest()


def broken_entries(audit: Mapping[str, Any], stated: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each entry that is missing, changed or out of its place.

    `stated` is what the manifest says: `entries` (numbers), `last` (number) and `head` (hash).
    """
    entries, hashes, first = audit.get("entries"), audit.get("hashes"), audit.get("first")
    numbers, last = stated.get("entries"), stated.get("last")
    if not (
        isinstance(entries, list)
        and all(isinstance(entry, dict) and type(entry.get("number")) is int for entry in entries)
        and isinstance(hashes, list)
        and isinstance(numbers, list)
        and type(first) is int
        and type(last) is int
    ):
        yield "audit.json holds no entries of an audit log."
        return
    there = {entry["number"] for entry in entries}
    for number in numbers:
        if number not in there:
            yield f"Entry {number} of the audit log is missing."
    if len(hashes) != max(0, last - first + 1) or (hashes and hashes[-1] != stated.get("head")):
        yield "The chain of the audit log is not whole: hashes are missing from it."
    for entry in entries:
        yield from _broken(entry, numbers, hashes, first)


def _broken(entry: dict[str, Any], numbers: list[Any], hashes: list[Any], first: int) -> Iterator[str]:
    number = entry["number"]
    if number not in numbers:
        yield f"Entry {number} of the audit log was added after the signing."
    if entry.get("hash") != entry_hash(entry):
        yield f"Entry {number} of the audit log is not as it was written."
    place = number - first
    if 0 <= place < len(hashes) and hashes[place] != entry.get("hash"):
        yield f"Entry {number} of the audit log is not the one that the chain has in its place."
    if 0 < place <= len(hashes) and hashes[place - 1] != entry.get("previous"):
        yield f"Entry {number} of the audit log does not follow from the one before it."
