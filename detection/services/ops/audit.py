"""The audit log: one entry per action, in the action's transaction, chained by hashes.

Adding an entry locks the head of the chain until the transaction ends, so record last.  Whoever can write to the
database can rewrite the chain; each hash is also in the log lines, and `verify_audit --expect` checks a noted one.
`audit_archive` moves old entries into files; the chain goes through them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from ipaddress import IPv6Address, ip_address
from typing import Any
from uuid import UUID

import structlog
from django.contrib.auth.models import AbstractBaseUser
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from detection.audit_context import Actor, who
from detection.models import AuditAction, AuditArchive, AuditEntry, AuditHead, Video
from detection.models.audit import BEGINNING

log = structlog.get_logger(__name__)

BATCH = 2000
Facts = Mapping[str, Any]


def record(
    action: AuditAction, *, subject: str = "", by: AbstractBaseUser | None = None, facts: Facts | None = None
) -> AuditEntry:
    """Add an entry; `facts` are JSON without fractions, which some databases return changed."""
    with transaction.atomic():
        return _add(_locked_head(), action, subject, who(by=by), dict(facts or {}))


def record_once(
    action: AuditAction,
    *,
    since: datetime,
    subject: str,
    each_address: bool = False,
    facts: Facts | None = None,
) -> None:
    """Add an entry unless this actor (from this address, with `each_address`) has one for the subject since then."""
    actor = who()
    same = AuditEntry.objects.filter(subject=subject, action=action, at__gte=since, actor=actor.name)
    if each_address:
        same = same.filter(address=actor.address)
    if same.exists():
        return
    with transaction.atomic():
        head = _locked_head()
        if not same.exists():  # two requests at once
            _add(head, action, subject, actor, dict(facts or {}))


def media_read(*, video_id: UUID, user: Any, original: bool = False) -> None:
    """Record that somebody other than the owner has seen part of a video, once per user, video and hour."""
    if Video.objects.filter(pk=video_id, owner_id=user.pk).exists():
        return
    action = AuditAction.MEDIA_DOWNLOADED if original else AuditAction.MEDIA_VIEWED
    record_once(action, since=timezone.now().replace(minute=0, second=0, microsecond=0), subject=f"video:{video_id}")


# --- the chain -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Checked:
    """Result of a check: `broken` has a sentence for each missing or changed entry.

    `entries` is the number of the last entry, and `head` its hash.
    """

    entries: int
    head: str
    broken: tuple[str, ...] = ()


def verify(*, expect: tuple[int, str] | None = None) -> Checked:
    """Check the whole chain, archives and table, in batches; `expect` is a number and hash noted earlier."""
    count, previous, broken = 0, BEGINNING, list[str]()
    for entry in _entries(broken):
        gap = entry.number - count - 1
        if gap:
            broken.append(_missing(count + 1, entry.number - 1))
        elif entry.previous != previous:
            broken.append(f"Entry {entry.number} does not follow from the one before it.")
        if not is_as_written(entry):
            broken.append(f"Entry {entry.number} is not as it was written.")
        if expect and expect[0] == entry.number and expect[1] != entry.hash:
            broken.append(f"Entry {entry.number} is not the one that was noted.")
        count, previous = entry.number, entry.hash
    head = AuditHead.objects.first()  # read after the entries: it can only be further on
    if head is None and count:
        broken.append(f"The head of the chain is missing; the last entry is {count}.")
    elif head is not None and (head.number < count or (head.number == count and head.hash != previous)):
        broken.append(f"Entry {count} is not where the chain's head says that it ends.")
    elif head is not None and head.number > count and not AuditEntry.objects.filter(number=head.number).exists():
        broken.append(f"{_missing(count + 1, head.number)[:-1]}: the chain's head says {head.number}.")
    if expect and expect[0] > count:
        broken.append(f"Entry {expect[0]}, which was noted, is missing.")
    return Checked(count, previous, tuple(broken))


def is_as_written(entry: AuditEntry) -> bool:
    """Whether the entry has the hash of its content."""
    return entry.hash in _digests(entry)


def _missing(first: int, last: int) -> str:
    return f"Entry {first} is missing." if first == last else f"Entries {first} to {last} are missing."


def _digests(entry: AuditEntry) -> list[str]:
    """Return the hashes that are valid for the entry."""
    return [digest(entry, address=spelling) for spelling in _spellings(entry)]


def _spellings(entry: AuditEntry) -> set[str | None]:
    """Return the spellings of the entry's address that may be the hashed one.

    Earlier versions hashed an IPv4 address within an IPv6 one as Python spells it, before the database respelt it.
    """
    spellings = {entry.address}
    address = ip_address(entry.address) if entry.address else None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        high, low = divmod(int(address.ipv4_mapped), 1 << 16)
        spellings |= {str(address), f"::ffff:{high:x}:{low:x}", f"::ffff:{address.ipv4_mapped}"}
    return spellings


def as_hashed(entry: AuditEntry) -> dict[str, Any]:
    """Return the entry's values for JSON, with its address spelt as its hash has it."""
    values = _content(entry) | {"previous": entry.previous, "hash": entry.hash}
    for spelling in _spellings(entry):
        if digest(entry, address=spelling) == entry.hash:
            return values | {"address": spelling}
    return values


def digest(entry: AuditEntry, *, address: str | None = None) -> str:
    """Return the SHA-256 (hex) of the previous hash and the entry as canonical JSON; `address` overrides its own."""
    canonical = _canonical(_content(entry) | {"address": address or entry.address})
    return hashlib.sha256(f"{entry.previous}{canonical}".encode()).hexdigest()


def to_line(entry: AuditEntry) -> str:
    """Return the entry as one line of an archive."""
    return _canonical(_content(entry) | {"previous": entry.previous, "hash": entry.hash}) + "\n"


def from_line(line: str) -> AuditEntry:
    """Return the unsaved entry of a line of an archive.  Raises ValueError if it is none."""
    try:
        values = json.loads(line)
        return AuditEntry(**values | {"at": datetime.fromisoformat(values["at"])})
    except (TypeError, KeyError) as error:
        raise ValueError("A line of an archive is no entry.") from error


def _content(entry: AuditEntry) -> dict[str, Any]:
    return {
        "number": entry.number,
        "at": entry.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "action": str(entry.action),
        "actor": entry.actor,
        "actor_id": entry.actor_id,
        "address": entry.address,
        "subject": entry.subject,
        "facts": entry.facts,
    }


def _canonical(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def archived(archive: AuditArchive) -> Iterator[AuditEntry]:
    """The entries of an archive, in order.  Raises OSError or ValueError where its file is gone or damaged."""
    with default_storage.open(str(archive.file.name)) as file:
        for line in file:
            yield from_line(line.decode())


def _entries(broken: list[str]) -> Iterator[AuditEntry]:
    """Archives and table, in order, while old entries may be moved from the one to the other.

    An archive that cannot be read adds a sentence to `broken`.
    """
    last = 0
    while True:
        archive = AuditArchive.objects.filter(first__lte=last + 1, last__gt=last).first()
        if archive is not None:
            try:
                for entry in archived(archive):
                    if entry.number > last:
                        yield entry
            except (OSError, ValueError) as error:
                broken.append(f"The archive of the entries {archive} cannot be read: {error}")
            last = archive.last
            continue
        batch = list(AuditEntry.objects.filter(number__gt=last).order_by("number")[:BATCH])
        if not batch:
            return
        follows = batch[0].number == last + 1
        if not follows and AuditArchive.objects.filter(first__lte=last + 1, last__gt=last).exists():
            continue  # they were moved between the two questions
        yield from batch
        last = batch[-1].number


def _locked_head() -> AuditHead:
    """Return the head of the chain, locked until the transaction ends."""
    head = AuditHead.objects.select_for_update().first()
    if head is None:  # a new installation
        AuditHead.objects.get_or_create(pk=1)
        head = AuditHead.objects.select_for_update().get()
    return head


def _add(head: AuditHead, action: AuditAction, subject: str, actor: Actor, facts: dict[str, Any]) -> AuditEntry:
    entry = AuditEntry(
        number=head.number + 1,
        at=timezone.now(),
        action=action,
        actor=actor.name,
        actor_id=actor.user_id,
        address=actor.address,
        subject=subject,
        facts=facts,
        previous=head.hash,
    )
    entry.hash = digest(entry)
    entry.save(force_insert=True)
    # What counts is what a reader gets: a database may spell an address, a number or a moment in its own way.
    entry = AuditEntry.objects.get(pk=entry.pk)
    if entry.hash != digest(entry):
        entry.hash = digest(entry)
        QuerySet(AuditEntry).filter(pk=entry.pk).update(hash=entry.hash)
    AuditHead.objects.filter(pk=head.pk).update(number=entry.number, hash=entry.hash)
    line = {"number": entry.number, "action": str(action), "actor": entry.actor, "subject": subject}
    transaction.on_commit(partial(log.info, "audit", hash=entry.hash, **line), robust=True)
    return entry
