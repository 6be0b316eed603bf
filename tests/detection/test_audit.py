"""The audit log: what is recorded, by whom, and that a change of it is noticed."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from ipaddress import ip_address
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from knox.models import AuthToken

from detection.audit_context import Actor
from detection.models import AppendOnlyError, AuditAction, AuditEntry, AuditHead, ModelVersion, State, Video
from detection.services.learning import registry
from detection.services.ops import accounts, audit
from detection.services.reviews import gold
from detection.services.uploads import uploads
from tests.detection.conftest import MakeVideo

pytestmark = pytest.mark.django_db
PASSWORD = "a long enough pass phrase"


def entries(action: str) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(action=action).order_by("number"))


def only(action: str) -> AuditEntry:
    (entry,) = entries(action)
    return entry


def verify(*words: str) -> str:
    out = StringIO()
    call_command("verify_audit", *words, stdout=out)
    return out.getvalue()


def fill(count: int) -> None:
    for number in range(count):
        audit.record(AuditAction.EXPORTED, subject=f"labels {number}", facts={"z": number, "a": ["é", None, True]})


def forge(number: int, **changes: Any) -> None:
    """As somebody with the database's password would."""
    table = AuditEntry._meta.db_table
    with connection.cursor() as cursor:
        for column, value in changes.items():
            cursor.execute(f"UPDATE {table} SET {column} = %s WHERE number = %s", [value, number])


# --- the chain ---


def test_entries_are_numbered_chained_and_found_sound_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "BATCH", 3)
    fill(10)
    rows = list(AuditEntry.objects.order_by("number"))
    assert [row.number for row in rows] == list(range(1, 11))
    assert [row.previous for row in rows[1:]] == [row.hash for row in rows[:-1]]
    assert "OK: 10 entries" in verify()
    assert f"10:{rows[-1].hash}" in verify("--expect", f"4:{rows[3].hash}")


@pytest.mark.parametrize(
    ("seen", "stored"),
    [
        ("::ffff:203.0.113.9", "203.0.113.9"),  # a server on [::], an IPv4 client
        ("::ffff:cb00:7109", "203.0.113.9"),
        ("fe80::1%eth0", "fe80::1"),
        ("FE80:0::1", "fe80::1"),
        ("2001:DB8::0:1", "2001:db8::1"),
        ("64:ff9b::203.0.113.9", "64:ff9b::cb00:7109"),
        ("::203.0.113.9", "::203.0.113.9"),
        ("10.0.0.1", "10.0.0.1"),
        ("/run/web.sock", None),
    ],
)
def test_whatever_a_client_is_called_the_chain_holds(seen: str, stored: str | None) -> None:
    Client().post("/admin/login/", {"username": "x", "password": "y"}, REMOTE_ADDR=seen)
    address = AuditEntry.objects.get().address
    assert (address and ip_address(address)) == (stored and ip_address(stored))
    assert "OK: 1 entries" in verify()


@pytest.mark.parametrize("address", ["::ffff:cb00:7109", "fe80::1%eth0", "FE80::1", "::ffff:203.0.113.9"])
def test_an_entry_is_hashed_as_it_is_read_again(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where an address comes from elsewhere than a request."""
    monkeypatch.setattr(audit, "who", lambda *, by=None: Actor("somebody", None, address))
    fill(3)
    assert "OK: 3 entries" in verify()


@pytest.mark.parametrize("facts", [{"n": 10**30}, {"n": 1.0}, {"n": 0.1}, {"t": (1, 2)}, {"k": {1: "a"}}])
def test_facts_are_hashed_as_they_are_read_again(facts: dict[str, Any]) -> None:
    audit.record(AuditAction.EXPORTED, facts=facts)
    assert "OK: 1 entries" in verify()


def test_a_chain_of_the_version_before_with_a_mapped_address_is_sound() -> None:
    """It hashed the address as Python had spelt it, and the database spelt it in its own way."""
    fill(2)
    entry = AuditEntry.objects.get(number=2)
    entry.address = "::ffff:cb00:7109"
    forge(2, address="::ffff:203.0.113.9", hash=audit.digest(entry))
    AuditHead.objects.update(hash=audit.digest(entry))
    fill(1)
    assert "OK: 3 entries" in verify()
    forge(2, address="::ffff:203.0.113.8")
    with pytest.raises(CommandError, match="Entry 2 is not as it was written"):
        verify()


def test_every_bad_entry_is_named() -> None:
    fill(12)
    forge(2, actor="somebody else")
    AuditEntry.objects.filter(number__in=(4, 5, 9))._raw_delete("default")
    forge(11, subject="another")
    forge(11, hash=audit.digest(AuditEntry.objects.get(number=11)))
    assert audit.verify().broken == (
        "Entry 2 is not as it was written.",
        "Entries 4 to 5 are missing.",
        "Entry 9 is missing.",
        "Entry 12 does not follow from the one before it.",
    )


def test_an_empty_log_is_sound() -> None:
    assert "OK: 0 entries" in verify()


@pytest.mark.parametrize(
    "changes",
    [
        {"actor": "somebody else"},
        {"facts": '{"z": 4}'},
        {"subject": ""},
        {"at": "2020-01-01 00:00:00"},
        {"actor_id": 7},
    ],
)
def test_a_changed_entry_is_named(changes: dict[str, Any]) -> None:
    fill(6)
    forge(4, **changes)
    with pytest.raises(CommandError, match=r"^Entry 4 is not as it was written.\nThe last entry is 6:"):
        verify()


def test_an_entry_that_is_changed_with_its_hash_breaks_the_next_one() -> None:
    fill(6)
    forge(4, actor="somebody else")
    forge(4, hash=audit.digest(AuditEntry.objects.get(number=4)))
    with pytest.raises(CommandError, match="Entry 5 does not follow"):
        verify()


@pytest.mark.parametrize("gone", [1, 3, 6])
def test_a_removed_entry_is_named_wherever_it_stood(gone: int) -> None:
    fill(6)
    AuditEntry.objects.filter(number=gone)._raw_delete("default")
    with pytest.raises(CommandError, match=f"Entry {gone} is missing"):
        verify()


def test_a_chain_that_was_written_anew_is_not_the_one_that_was_noted() -> None:
    fill(4)
    noted = f"3:{AuditEntry.objects.get(number=3).hash}"
    AuditEntry.objects.all()._raw_delete("default")
    AuditHead.objects.all().delete()
    fill(4)
    assert "OK: 4" in verify()
    with pytest.raises(CommandError, match="Entry 3 is not the one that was noted"):
        verify("--expect", noted)
    with pytest.raises(CommandError, match="Entry 9, which was noted, is missing"):
        verify("--expect", noted.replace("3:", "9:"))


def test_entries_are_neither_changed_nor_removed() -> None:
    fill(1)
    entry = AuditEntry.objects.get()
    for act in (entry.save, entry.delete, AuditEntry.objects.all().delete, AuditEntry.objects.update):
        with pytest.raises(AppendOnlyError):
            act()


def test_an_entry_goes_back_with_what_it_records() -> None:
    fill(1)
    with transaction.atomic():
        audit.record(AuditAction.EXPORTED)
        transaction.set_rollback(True)
    fill(1)
    assert "OK: 2 entries" in verify()


# --- what is recorded ---


def test_users_roles_and_tokens(settings: Any) -> None:
    accounts.create_token(username="ada", role="reviewer")
    made, role = entries(AuditAction.USER_CHANGED)
    ada = User.objects.get(username="ada")
    assert made.facts == {
        "username": "ada", "change": "created", "is_active": True, "is_staff": True, "is_superuser": False,
    }  # fmt: skip
    assert role.facts == {"username": "ada", "change": "added", "rights": ["reviewer"]}
    assert role.actor.endswith("(terminal)")
    token = only(AuditAction.TOKEN_CREATED)
    assert token.subject == f"token:{AuthToken.objects.get().token_key[:8]}"
    AuthToken.objects.get().delete()
    assert only(AuditAction.TOKEN_REVOKED).subject == token.subject

    before = AuditEntry.objects.count()
    ada.save()
    User.objects.get(pk=ada.pk).save(update_fields=["last_login"])
    assert AuditEntry.objects.count() == before
    ada.is_superuser = True
    ada.save()
    assert entries(AuditAction.USER_CHANGED)[-1].facts == {"username": "ada", "change": "rights", "is_superuser": True}
    ada.groups.clear()
    assert entries(AuditAction.USER_CHANGED)[-1].facts["change"] == "removed"
    Group.objects.get(name="operator").user_set.add(ada)
    assert entries(AuditAction.USER_CHANGED)[-1].facts == {
        "username": "ada", "change": "added", "rights": ["operator"],
    }  # fmt: skip
    Group.objects.get(name="reviewer").permissions.remove(Permission.objects.get(codename="add_review"))
    group = entries(AuditAction.USER_CHANGED)[-1]
    assert group.facts == {"group": "reviewer", "change": "removed", "rights": ["add_review"]}
    assert group.subject.startswith("group:")


def test_logins_and_failed_ones_which_do_not_flood_it_nor_keep_what_was_typed() -> None:
    User.objects.create_superuser("root", password=PASSWORD)
    client = Client(REMOTE_ADDR="192.0.2.7")
    for name in ("root", "root", "my secret pass phrase", "nobody"):
        client.post("/admin/login/", {"username": name, "password": "wrong"})
    known, unknown = entries(AuditAction.LOGIN_FAILED)
    assert (known.facts, known.address, known.actor) == ({"username": "root"}, "192.0.2.7", "")
    assert (unknown.facts, unknown.subject) == ({}, "user:unknown")
    Client(REMOTE_ADDR="192.0.2.8").post("/admin/login/", {"username": "root", "password": "wrong"})
    assert len(entries(AuditAction.LOGIN_FAILED)) == 3
    client.post("/admin/login/", {"username": "root", "password": PASSWORD})
    entry = only(AuditAction.LOGGED_IN)
    assert (entry.actor, entry.actor_id, entry.address) == ("root", User.objects.get().pk, "192.0.2.7")


@pytest.mark.parametrize(("https", "expected"), [(True, "198.51.100.2"), (False, "192.0.2.7")])
def test_the_address_is_the_proxys_word_only_where_there_is_one(settings: Any, https: bool, expected: str) -> None:
    settings.HTTPS = https
    client = Client(REMOTE_ADDR="192.0.2.7", headers={"x-forwarded-for": "203.0.113.9, 198.51.100.2"})
    client.post("/admin/login/", {"username": "nobody", "password": "wrong"})
    assert only(AuditAction.LOGIN_FAILED).address == expected


def test_looks_at_other_peoples_videos_one_entry_an_hour(
    make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, other = make_video(), make_video()
    for each in (video, other):
        clip = default_storage.save(f"{each.folder}/clip.mp4", ContentFile(b"clip"))
        Video.objects.filter(pk=each.pk).update(clip=clip, thumbnail=clip)
    reader = User.objects.create_user("maria")
    reader.groups.add(Group.objects.get(name="reviewer"))
    mine, theirs = Client(), Client()
    mine.force_login(video.owner)
    theirs.force_login(reader)

    def look(client: Client, of: Video, kind: str) -> None:
        assert client.get(f"/api/v1/videos/{of.pk}/media/{kind}").status_code == 200

    look(mine, video, "clip")
    look(theirs, video, "thumbnail")  # lists show them by the dozen
    assert not entries(AuditAction.MEDIA_VIEWED)
    for _ in range(3):
        look(theirs, video, "clip")
    look(theirs, other, "clip")
    look(theirs, video, "original")
    seen = [entry.subject for entry in entries(AuditAction.MEDIA_VIEWED)]
    assert seen == [f"video:{video.pk}", f"video:{other.pk}"]
    assert only(AuditAction.MEDIA_DOWNLOADED).actor == "maria"
    now = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: now + timedelta(hours=1))
    look(theirs, video, "clip")
    assert len(entries(AuditAction.MEDIA_VIEWED)) == 3


def test_deletions_known_answers_models_and_exports(make_video: MakeVideo) -> None:
    video = make_video()
    root = User.objects.create_superuser("root", password=PASSWORD)
    Video.objects.update(status=State.SUCCEEDED)
    video.refresh_from_db()
    gold.set_gold(video=video, label="fake", reason="The maker said so.", by=root)
    gold.unset_gold(video=video, by=root)
    gold.unset_gold(video=video, by=root)
    assert only(AuditAction.GOLD_SET).facts == {"label": "fake"}
    assert only(AuditAction.GOLD_UNSET).actor == "root"

    models = [
        ModelVersion.objects.create(name=str(n), sha256=f"{n:064}", file=f"models/{n}", threshold=0.5) for n in range(2)
    ]
    for model in models:
        registry.activate_model(model=model, by=root)
    registry.activate_model(model=models[1], by=root)  # it is active already
    registry.rollback(by=root)
    activated = [(entry.subject, entry.facts["kind"]) for entry in entries(AuditAction.MODEL_ACTIVATED)]
    first, second = (f"model:{model.pk}" for model in models)
    assert activated == [(first, "first"), (second, "forced"), (first, "rollback")]

    call_command("export_labels", stdout=StringIO())
    assert only(AuditAction.EXPORTED).actor.endswith(" (terminal)")

    client = Client(REMOTE_ADDR="192.0.2.7")
    client.force_login(video.owner)
    assert client.delete(f"/api/v1/videos/{video.pk}/").status_code == 204
    uploads.delete_video(video=video)  # again: nothing is there any more
    gone = only(AuditAction.VIDEO_DELETED)
    assert (gone.subject, gone.actor, gone.address) == (f"video:{video.pk}", "owner", "192.0.2.7")
    assert "OK" in verify()
    assert video.original_name not in str(list(AuditEntry.objects.values_list("facts", "subject")))


# --- the page ---


@pytest.mark.parametrize(("group", "status"), [("operator", 200), ("reviewer", 403), ("senior_reviewer", 403)])
def test_operators_read_it_and_nobody_writes_it(group: str, status: int) -> None:
    user = User.objects.create_user("ada", is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    assert client.get("/admin/detection/auditentry/").status_code == status
    entry = AuditEntry.objects.earliest("number")
    assert client.get(f"/admin/detection/auditentry/{entry.pk}/change/").status_code == status
    root = Client()
    root.force_login(User.objects.create_superuser("root", password=PASSWORD))
    assert root.post(f"/admin/detection/auditentry/{entry.pk}/change/", {"actor": "x"}).status_code == 403
    assert root.post(f"/admin/detection/auditentry/{entry.pk}/delete/", {"post": "yes"}).status_code == 403
    assert root.get("/admin/detection/auditentry/add/").status_code == 403


def test_the_list_is_filtered_by_what_who_and_when() -> None:
    root = User.objects.create_superuser("root", password=PASSWORD)
    client = Client()
    client.force_login(root)
    fill(2)

    def shown(query: str) -> int:
        page = client.get(f"/admin/detection/auditentry/?{query}")
        assert page.status_code == 200
        return len(page.context["cl"].result_list)

    total = AuditEntry.objects.count()
    assert shown("") == total
    assert shown("action__exact=exported") == 2
    assert shown("actor=root") == 1
    assert shown(f"q=user:{root.pk}") == total - 2
    assert shown("at_from=2020-01-01&at_to=2020-12-31") == 0
