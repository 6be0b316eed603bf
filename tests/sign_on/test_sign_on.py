"""Single sign-on against a real provider: who gets in, with which roles, and that no forged word changes that."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.contrib.auth.models import Group, User
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from detection.models import AuditAction, AuditEntry
from detection.sign_on import provider as asked_provider
from dfdsite import sign_on
from tests.sign_on.provider import KEY, Claims, Forger, Provider, signed
from tests.stack import free_port

pytestmark = pytest.mark.django_db
PASSWORD = "a long enough pass phrase"
PUBLIC_PEM = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    provider = Provider(free_port())
    yield provider
    provider.close()


@pytest.fixture
def provider(running: Provider, settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Provider:
    settings.DFD_OIDC_ISSUER, settings.DFD_OIDC_NAME = running.issuer, "the newsroom's account"
    settings.DFD_OIDC_CLIENT_ID, settings.DFD_OIDC_CLIENT_SECRET = "desk", "a secret"
    settings.DFD_OIDC_ROLES = {"reviewers": "reviewer", "seniors": "senior_reviewer", "chiefs": "admin"}
    counts = {"BACKEND": "detection.api.counts.MachineCounts", "LOCATION": str(tmp_path / "counts")}
    settings.CACHES = settings.CACHES | {"requests": counts}
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
    asked_provider._known.clear()
    running.forge = None
    running.asked.clear()
    return running


def begun(client: Client, query: str = "") -> str:
    """The address to which the login page's button leads in the end."""
    answer = client.get(f"/admin/sso/{query}")
    assert answer.status_code == 302, answer.content
    return str(answer["Location"])


def logged_in(client: Client, provider: Provider, subject: str, query: str = "") -> Any:
    """By all the steps of a browser; the answer to its way back."""
    return client.get("/admin/sso/callback/", provider.log_in(begun(client, query), subject))


def refused(client: Client, answer: Any) -> str:
    """What the login page says, to which the browser is sent."""
    assert (answer.status_code, answer["Location"]) == (302, "/admin/login/")
    assert "_auth_user_id" not in client.session
    page = client.get("/admin/login/")
    return " ".join(str(message) for message in page.context["messages"])


def roles(user: User) -> set[str]:
    user.refresh_from_db()
    held = set(user.groups.values_list("name", flat=True))
    return held | ({"superuser"} if user.is_superuser else set()) | ({"staff"} if user.is_staff else set())


# --- as it should go -------------------------------------------------------------------------------------------------


def test_a_first_login_makes_a_user_with_the_roles_of_the_groups(provider: Provider, client: Client) -> None:
    provider.user(
        "17", preferred_username="maria", groups=["reviewers", "canteen"], email="m@x.org", email_verified=True
    )
    where = begun(client, "?next=/admin/review/")
    asked = parse_qs(urlsplit(where).query)
    assert where.startswith(f"{provider.issuer}/oauth2/authorize?")
    assert asked["redirect_uri"] == ["http://testserver/admin/sso/callback/"]
    assert asked["code_challenge_method"] == ["S256"]
    answer = client.get("/admin/sso/callback/", provider.log_in(where, "17"))
    assert (answer.status_code, answer["Location"]) == (302, "/admin/review/")
    user = User.objects.get(username="maria")
    assert (roles(user), user.email, user.has_usable_password()) == ({"reviewer", "staff"}, "m@x.org", False)
    assert client.get("/admin/review/").status_code == 200
    assert 43_000 < client.session.get_expiry_age() <= 43_200
    entry = AuditEntry.objects.get(action=AuditAction.LOGGED_IN)
    assert (entry.actor, entry.actor_id) == ("maria", user.pk)


def test_roles_are_those_of_the_last_login(provider: Provider) -> None:
    provider.user("18", preferred_username="ada", groups=["chiefs", "seniors"])
    logged_in(Client(), provider, "18")
    user = User.objects.get(username="ada")
    assert roles(user) == {"superuser", "staff", "senior_reviewer"}
    provider.user("18", preferred_username="renamed there", groups=["reviewers"])
    logged_in(Client(), provider, "18")
    assert roles(user) == {"reviewer", "staff"}
    provider.user("18", preferred_username="ada", groups=[])
    browser = Client()
    assert "None of your groups has a role here." in refused(browser, logged_in(browser, provider, "18"))
    assert roles(user) == set()
    assert User.objects.count() == 1
    rights = [entry.facts for entry in AuditEntry.objects.filter(action=AuditAction.USER_CHANGED)]
    assert any(facts.get("is_superuser") is False for facts in rights)


def test_who_has_no_role_gets_no_account(provider: Provider, client: Client) -> None:
    provider.user("19", preferred_username="eve", groups=["canteen", "Reviewers", "admin", 7, {"name": "chiefs"}])
    assert "None of your groups" in refused(client, logged_in(client, provider, "19"))
    assert not User.objects.exists()
    assert AuditEntry.objects.get(action=AuditAction.LOGIN_FAILED).facts == {"sign_on": "no_role"}


def test_an_account_that_was_deactivated_here_stays_so(provider: Provider, client: Client) -> None:
    provider.user("20", preferred_username="ben", groups=["chiefs"])
    browser = Client()
    logged_in(browser, provider, "20")
    assert browser.get("/api/v1/videos/").status_code == 200
    User.objects.update(is_active=False)
    assert browser.get("/api/v1/videos/").status_code == 401
    assert "deactivated here" in refused(client, logged_in(client, provider, "20"))


def test_sessions_end_where_single_sign_on_is_switched_off(provider: Provider, client: Client, settings: Any) -> None:
    provider.user("22", preferred_username="dora", groups=["reviewers"])
    logged_in(client, provider, "22")
    assert client.get("/api/v1/videos/").status_code == 200
    settings.DFD_OIDC_ISSUER = ""
    assert client.get("/api/v1/videos/").status_code == 401


def test_logging_out_here_offers_to_log_out_there(provider: Provider, client: Client) -> None:
    provider.user("21", preferred_username="cleo", groups=["reviewers"])
    logged_in(client, provider, "21")
    page = client.post("/admin/logout/")
    assert "_auth_user_id" not in client.session
    assert page.context["provider_logout"].startswith(f"{provider.issuer}/oauth2/end_session?client_id=desk&")
    assert b"The newsroom&#x27;s account still knows you" in page.content
    local = Client()
    local.force_login(User.objects.create_superuser("root"), backend="django.contrib.auth.backends.ModelBackend")
    assert b"still knows you" not in local.post("/admin/logout/").content


# --- no way up -------------------------------------------------------------------------------------------------------


def test_neither_a_name_nor_an_email_leads_into_an_account_of_before(provider: Provider, client: Client) -> None:
    root = User.objects.create_superuser("root", email="root@x.org", password=PASSWORD)
    for subject, name in (("30", "root"), ("31", "ROOT"), ("32", "\uff52\uff4f\uff4f\uff54")):
        provider.user(subject, preferred_username=name, groups=["reviewers"], email="root@x.org", email_verified=True)
        assert "There is an account" in refused(client, logged_in(client, provider, subject))
    provider.user("33", preferred_username="mallory", groups=["reviewers"], email="root@x.org", email_verified=False)
    logged_in(client, provider, "33")
    mallory = User.objects.get(username="mallory")
    assert (mallory.email, roles(mallory)) == ("", {"reviewer", "staff"})
    assert roles(root) == {"superuser", "staff"}


def test_a_superuser_connects_an_account_and_then_the_provider_decides(provider: Provider, client: Client) -> None:
    root = User.objects.create_superuser("root", password=PASSWORD)
    nina = User.objects.create_user("nina", is_staff=True)
    nina.groups.add(Group.objects.get(name="operator"))
    client.force_login(root, backend="django.contrib.auth.backends.ModelBackend")
    address = f"/admin/auth/user/{nina.pk}/change/"
    page = client.get(address)
    assert page.context["inline_admin_formsets"][0].formset.empty_form["issuer"].initial == provider.issuer
    form = {"username": "nina", "is_active": "on", "date_joined_0": "2026-11-30", "date_joined_1": "12:00:00"} | {
        f"external_identity-{name}": value
        for name, value in {
            "TOTAL_FORMS": "1", "INITIAL_FORMS": "0", "0-subject": "35", "0-issuer": provider.issuer, "0-user": nina.pk,
        }.items()
    }  # fmt: skip
    assert client.post(address, form).status_code == 302
    provider.user("35", preferred_username="another name", groups=["seniors"])
    logged_in(Client(), provider, "35")
    assert roles(nina) == {"senior_reviewer", "staff"}


OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
FORGED: dict[str, Forger] = {
    "for another client": lambda claims: signed(claims | {"aud": "another"}),
    "for another client, too": lambda claims: signed(claims | {"aud": ["desk", "another"], "azp": "another"}),
    "by another issuer": lambda claims: signed(claims | {"iss": "https://evil.example.org"}),
    "expired": lambda claims: signed(claims | {"exp": int(time.time()) - 3600}),
    "not yet": lambda claims: signed(claims | {"nbf": int(time.time()) + 3600}),
    "for ever": lambda claims: signed({name: value for name, value in claims.items() if name != "exp"}),
    "of another login": lambda claims: signed(claims | {"nonce": "of before"}),
    "of no login": lambda claims: signed({name: value for name, value in claims.items() if name != "nonce"}),
    "unsigned": lambda claims: signed(claims, key=None, algorithm="none"),
    "signed by somebody": lambda claims: signed(claims, key=OTHER_KEY),
    "signed with the public key": lambda claims: hmac_signed(claims),
    "changed afterwards": lambda claims: changed(signed(claims)),
    "of nobody": lambda claims: signed(claims | {"sub": ""}),
    "of somebody else than asked": lambda claims: signed(without_groups(claims) | {"sub": "40"}),
    "nothing": lambda claims: "",
}


def without_groups(claims: Claims) -> Claims:
    return {name: value for name, value in claims.items() if name != "groups"}


def hmac_signed(claims: Claims) -> str:
    """As where a verifier takes the provider's public key for a shared secret; PyJWT itself refuses to sign so."""
    import hmac

    head = jwt.utils.base64url_encode(b'{"alg":"HS256","kid":"forged","typ":"JWT"}')
    body = signed(claims).split(".")[1].encode()
    mark = jwt.utils.base64url_encode(hmac.digest(PUBLIC_PEM, head + b"." + body, "sha256"))
    return b".".join((head, body, mark)).decode()


def changed(token: str) -> str:
    head, body, mark = token.split(".")
    claims = jwt.utils.base64url_decode(body).replace(b"reviewers", b"chiefs")
    return ".".join((head, jwt.utils.base64url_encode(claims).decode(), mark))


def test_a_token_that_is_signed_anew_as_it_is_would_be_taken(provider: Provider, client: Client) -> None:
    provider.user("39", preferred_username="zoe", groups=["reviewers"])
    provider.forge = signed
    assert logged_in(client, provider, "39")["Location"] == "/admin/"
    assert User.objects.get().username == "zoe"


@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_token_logs_nobody_in(provider: Provider, client: Client, forged: str) -> None:
    provider.user("41", preferred_username="eve", groups=["reviewers"])
    provider.forge = FORGED[forged]
    assert "could not be verified" in refused(client, logged_in(client, provider, "41"))
    assert not User.objects.exists()
    assert AuditEntry.objects.get(action=AuditAction.LOGIN_FAILED).facts == {"sign_on": "sign_on_failed"}


def test_a_way_back_counts_once_and_in_the_browser_that_went(provider: Provider, client: Client) -> None:
    provider.user("50", preferred_username="finn", groups=["reviewers"])
    back = provider.log_in(begun(client), "50")
    victim = Client()
    begun(victim)
    for query in (back, back | {"state": "made up"}, {"code": back["code"]}, {"error": "access_denied"}, {}):
        assert "Try again" in refused(victim, victim.get("/admin/sso/callback/", query))
    assert client.get("/admin/sso/callback/", back)["Location"] == "/admin/"
    browser = Client()
    browser.cookies = client.cookies
    client.post("/admin/logout/")
    assert "Try again" in refused(browser, browser.get("/admin/sso/callback/", back))
    # The code alone, beside a password, is no way in either.
    other = dict(parse_qsl(urlsplit(begun(victim)).query))
    address = f"/admin/login/?code={back['code']}&state={other['state']}"
    assert victim.post(address, {"username": "finn", "password": "wrong"}).status_code == 200
    assert "_auth_user_id" not in victim.session


def test_a_link_logs_nobody_out(provider: Provider, client: Client) -> None:
    provider.user("52", preferred_username="ida", groups=["reviewers"])
    logged_in(client, provider, "52")
    for query in ({"error": "x"}, {"error": "x", "state": "made up"}):
        assert client.get("/admin/sso/callback/", query)["Location"] == "/admin/login/"
    assert "_auth_user_id" in client.session
    state = dict(parse_qsl(urlsplit(begun(client)).query))["state"]
    client.get("/admin/sso/callback/", {"error": "access_denied", "state": state})
    assert "_auth_user_id" not in client.session


def test_next_leads_nowhere_else(provider: Provider, client: Client) -> None:
    provider.user("51", preferred_username="gil", groups=["reviewers"])
    assert logged_in(client, provider, "51", "?next=https://evil.example.org/")["Location"] == "/admin/"


# --- the other way in, and a provider that is away -------------------------------------------------------------------


def test_the_button_is_there_where_it_is_configured_and_passwords_go_on(provider: Provider, settings: Any) -> None:
    User.objects.create_superuser("root", password=PASSWORD)
    page = Client().get("/admin/login/?next=/admin/review/").content
    assert b"Log in with the newsroom&#x27;s account" in page
    assert b'href="/admin/sso/?next=%2Fadmin%2Freview%2F"' in page
    assert b'name="password"' in page
    form = {"username": "root", "password": PASSWORD}
    assert Client().post("/admin/login/", form).status_code == 302
    settings.DFD_LOCAL_LOGIN = False
    assert b'name="password"' not in Client().get("/admin/login/").content
    assert Client().post("/admin/login/", form).status_code == 403
    settings.DFD_OIDC_ISSUER, settings.DFD_LOCAL_LOGIN = "", True
    assert b"sso" not in Client().get("/admin/login/").content
    assert [Client().get(path).status_code for path in ("/admin/sso/", "/admin/sso/callback/")] == [404, 404]


def test_a_provider_that_is_away_or_hangs_keeps_nobody_waiting(
    provider: Provider, settings: Any, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts = []

    def hangs(address: str, **options: Any) -> Any:
        timeouts.append(options["timeout"])
        raise requests.Timeout("too slow")

    provider.user("60", preferred_username="hugo", groups=["reviewers"])
    back, again = (provider.log_in(begun(client), "60") for _ in range(2))
    monkeypatch.setattr(requests, "post", hangs)
    assert "could not be verified" in refused(client, client.get("/admin/sso/callback/", back))
    monkeypatch.setattr(asked_provider, "PATIENCE_S", 0.01)
    with asked_provider.asking(), asked_provider.asking():
        assert "at once" in refused(client, client.get("/admin/sso/callback/", again))
    asked_provider._known.clear()
    monkeypatch.setattr(requests, "get", hangs)
    assert "does not answer" in refused(client, client.get("/admin/sso/"))
    assert timeouts == [asked_provider.TIMEOUT_S] * 2
    settings.DFD_OIDC_ISSUER = f"{provider.issuer}/"  # not what its document says of itself
    monkeypatch.undo()
    assert "does not answer" in refused(client, client.get("/admin/sso/"))


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"DFD_OIDC_ISSUER": "http://id.example.org"}, "must begin with https"),
        ({"DFD_OIDC_CLIENT_SECRET": ""}, "DFD_OIDC_CLIENT_SECRET not"),
        ({"DFD_OIDC_ROLES": '{"a": "emperor"}'}, "each role one of reviewer"),
        ({"DFD_OIDC_ROLES": "a=reviewer"}, "must be JSON"),
        ({"DFD_OIDC_ROLES": '{"a": ["reviewer"]}'}, "must be JSON"),
        ({"DFD_OIDC_ISSUER": "", "DFD_LOCAL_LOGIN": "false"}, "nobody could log in"),
    ],
)
def test_settings_that_cannot_be_meant_stop_the_program(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], sentence: str
) -> None:
    whole = {
        "DFD_OIDC_ISSUER": "https://id.example.org",
        "DFD_OIDC_CLIENT_ID": "desk",
        "DFD_OIDC_CLIENT_SECRET": "a secret",
        "DFD_OIDC_ROLES": '{"chiefs": "admin"}',
    }
    for name, value in whole.items():
        monkeypatch.setenv(name, value)
    assert (sign_on.issuer(), sign_on.roles()) == ("https://id.example.org", {"chiefs": "admin"})
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=sentence):
        print(sign_on.roles(), sign_on.issuer())
