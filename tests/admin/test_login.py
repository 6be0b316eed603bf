"""Coming in by the login page itself, as from a bookmark."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client


@pytest.mark.django_db
def test_a_login_from_the_login_page_leads_into_the_admin(client: Client) -> None:
    User.objects.create_superuser("ada", password="a long enough pass phrase")
    answer = client.post("/admin/login/", {"username": "ada", "password": "a long enough pass phrase"})
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")
