"""Archives of the audit log: the table is bounded, and the chain of hashes goes on through the files."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from detection.models import AuditAction, AuditArchive, AuditEntry, AuditHead, FolderCheck
from detection.services.jobs import orphan_files
from detection.services.ops import audit, audit_archive
from detection.services.ops.audit_archive import BrokenChainError

pytestmark = pytest.mark.django_db
YEAR = timedelta(days=365)


@pytest.fixture(autouse=True)
def _own_storage(tmp_path: Any, settings: Any) -> None:
    settings.MEDIA_ROOT = str(tmp_path)


def fill(count: int, *, days_ago: float, monkeypatch: pytest.MonkeyPatch) -> None:
    then = timezone.now() - timedelta(days=days_ago)
    with monkeypatch.context() as patch:
        patch.setattr(timezone, "now", lambda: then)
        for number in range(count):
            audit.record(AuditAction.EXPORTED, subject=f"labels {number}", facts={"é": [number, None, 10**30, 0.1]})


def numbers() -> list[int]:
    return list(AuditEntry.objects.order_by("number").values_list("number", flat=True))


def command(name: str, *words: str) -> str:
    out = StringIO()
    call_command(name, *words, stdout=out)
    return out.getvalue()


def rewrite(archive: AuditArchive, before: str, after: str) -> None:
    """As somebody with access to the storage would."""
    name = str(archive.file.name)
    with default_storage.open(name) as file:
        content = file.read()
    default_storage.delete(name)
    assert before.encode() in content
    default_storage.save(name, ContentFile(content.replace(before.encode(), after.encode(), 1)))


def test_old_entries_move_into_files_and_the_chain_is_sound_from_its_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit_archive, "ENTRIES", 4)
    monkeypatch.setattr(audit, "BATCH", 3)
    fill(10, days_ago=400, monkeypatch=monkeypatch)
    fill(3, days_ago=1, monkeypatch=monkeypatch)
    noted = AuditEntry.objects.get(number=6)
    said = command("archive_audit")
    assert "10 entries moved." in said
    assert [(row.first, row.last) for row in AuditArchive.objects.all()] == [(1, 4), (5, 8), (9, 10)]
    assert numbers() == [11, 12, 13, 14, 15, 16]
    moves = AuditEntry.objects.filter(action=AuditAction.ARCHIVED).order_by("number")
    assert [row.facts for row in moves] == [{"first": 1, "last": 4}, {"first": 5, "last": 8}, {"first": 9, "last": 10}]
    assert "OK: 16 entries" in command("verify_audit", "--expect", f"6:{noted.hash}")
    with pytest.raises(CommandError, match="Entry 6 is not the one that was noted"):
        command("verify_audit", "--expect", f"6:{'0' * 64}")
    assert not FolderCheck.objects.exists()
    assert "0 entries moved." in command("archive_audit")


def test_an_archived_entry_is_read_again_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    fill(3, days_ago=400, monkeypatch=monkeypatch)
    before = list(AuditEntry.objects.order_by("number").values())
    made = audit_archive.archive(older_than=YEAR)
    assert made is not None
    fields = [field.attname for field in AuditEntry._meta.concrete_fields]
    read = [{name: getattr(entry, name) for name in fields} for entry in audit.archived(made)]
    assert read == before[:2]  # the newest stays, however old it is


def test_the_sweep_waits_until_an_archive_is_full(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_archive, "ENTRIES", 4)
    fill(3, days_ago=366, monkeypatch=monkeypatch)
    fill(2, days_ago=364, monkeypatch=monkeypatch)
    assert audit_archive.sweep() == 0
    settings.DFD_AUDIT_DAYS = 0
    later = timezone.now() + timedelta(days=2)
    monkeypatch.setattr(timezone, "now", lambda: later)
    assert audit_archive.sweep() == 0
    settings.DFD_AUDIT_DAYS = 365
    assert audit_archive.sweep() == 4
    assert audit_archive.sweep() == 0
    assert AuditEntry.objects.get(action=AuditAction.ARCHIVED).actor == "archive (program)"
    assert audit.verify().broken == ()


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("labels 1", "labels 9", "Entry 2 is not as it was written."),
        ('"number":3', '"number":4', "Entry 3 is missing."),
        ('{"action"', "action", "The archive of the entries 1 to 4 cannot be read"),
    ],
)
def test_a_change_of_an_archive_is_named(
    before: str, after: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(4, days_ago=400, monkeypatch=monkeypatch)
    fill(2, days_ago=1, monkeypatch=monkeypatch)
    made = audit_archive.archive(older_than=YEAR)
    assert made is not None
    assert audit.verify().broken == ()
    rewrite(made, before, after)
    assert audit.verify().broken[0].startswith(sentence)


def test_an_archive_that_is_gone_or_unknown_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    fill(4, days_ago=400, monkeypatch=monkeypatch)
    fill(2, days_ago=1, monkeypatch=monkeypatch)
    made = audit_archive.archive(older_than=YEAR)
    assert made is not None
    default_storage.delete(str(made.file.name))
    unreadable, missing = audit.verify().broken
    assert unreadable.startswith("The archive of the entries 1 to 4 cannot be read")
    assert missing == "Entries 1 to 4 are missing."
    AuditArchive.objects.all().delete()
    assert audit.verify().broken == ("Entries 1 to 4 are missing.",)


def test_an_archive_written_anew_does_not_fit_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    fill(2, days_ago=400, monkeypatch=monkeypatch)
    fill(2, days_ago=1, monkeypatch=monkeypatch)
    made = audit_archive.archive(older_than=YEAR)
    assert made is not None
    *_, last = audit.archived(made)
    written = audit.to_line(last)
    last.actor = "somebody else"
    last.hash = audit.digest(last)
    rewrite(made, written, audit.to_line(last))
    assert audit.verify().broken == ("Entry 3 does not follow from the one before it.",)


@pytest.mark.parametrize("column", ["actor", "previous", "number"])
def test_what_is_not_as_it_was_written_is_not_moved(column: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(4, days_ago=400, monkeypatch=monkeypatch)
    fill(1, days_ago=1, monkeypatch=monkeypatch)
    table = AuditEntry._meta.db_table
    with connection.cursor() as cursor:
        forged: dict[str, str | int] = {"actor": "somebody else", "previous": "f" * 64, "number": 77}
        cursor.execute(f"UPDATE {table} SET {column} = %s WHERE number = 2", [forged[column]])
    with pytest.raises(CommandError, match="Entry 2 of the audit log is"):
        command("archive_audit")
    with pytest.raises(BrokenChainError):
        audit_archive.archive(older_than=YEAR)
    assert AuditEntry.objects.count() == 5
    assert not AuditArchive.objects.exists()
    assert not default_storage.exists("audit")


def test_whoever_comes_second_moves_nothing_and_leaves_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at once: both have written their files; one of them commits first."""
    fill(3, days_ago=400, monkeypatch=monkeypatch)
    fill(1, days_ago=1, monkeypatch=monkeypatch)
    real, made = orphan_files.watch_folder, list[AuditArchive | None]()

    def overtaken(*, below: str) -> FolderCheck:
        with monkeypatch.context() as patch:
            patch.setattr(orphan_files, "watch_folder", real)
            made.append(audit_archive.archive(older_than=YEAR))
        return real(below=below)

    monkeypatch.setattr(orphan_files, "watch_folder", overtaken)
    assert audit_archive.archive(older_than=YEAR) is None
    assert AuditArchive.objects.get() == made[0]
    (folder,), _ = default_storage.listdir("audit")
    assert str(AuditArchive.objects.get().file.name).startswith(f"audit/{folder}/")
    assert audit.verify().broken == ()


def test_an_archive_whose_commit_was_not_answered_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    fill(2, days_ago=400, monkeypatch=monkeypatch)
    fill(1, days_ago=1, monkeypatch=monkeypatch)
    made = audit_archive.archive(older_than=YEAR)
    assert made is not None
    folder = str(made.file.name).rsplit("/", 1)[0]
    check = orphan_files.watch_folder(below="audit")
    FolderCheck.objects.filter(pk=check.pk).update(path=folder, created_at=timezone.now() - timedelta(days=2))
    assert orphan_files.sweep() == 1
    assert audit.verify().broken == ()
    assert AuditHead.objects.get().number == 4
