"""Who may do what over REST: every operation, for every role, on its own video and on somebody else's.

The operations are read from the addresses themselves, so one that is added is missing here until somebody has said who
may call it.
"""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import transaction

from detection.models import Video
from detection.services.ops.accounts import ROLES, create_token
from tests.api.calls import METHODS, addresses, call, full_video, operations
from tests.api.conftest import Caller, Factory

pytestmark = pytest.mark.django_db

COLUMNS = ("anonymous", "own", *ROLES)
"""Nobody; anyone, of what is their own; and each role, of what is somebody else's (an uploader: a stranger)."""
ALL = (200, 200, 200, 200, 200, 200, 200, 200)
KNOWN = (401, 200, 200, 200, 200, 200, 200, 200)
SEEN = (401, 200, 404, 200, 200, 200, 200, 200)
NOBODY_ELSES = (404, 404, 404, 404, 404, 404)
# (route's name, method): status for
#                              nobody own  uplo. rev. sen. m.o. oper. admin
ACCESS: dict[tuple[str, str], tuple[int, ...]] = {
    ("videos", "get"): KNOWN,
    ("videos", "post"): (401, 202, 202, 202, 202, 202, 202, 202),
    ("video", "get"): SEEN,
    ("video", "delete"): (401, 204, 404, 403, 403, 403, 204, 204),
    ("faces", "get"): SEEN,
    ("analyze", "post"): (401, 202, 404, 403, 403, 403, 202, 202),
    ("reviews", "get"): SEEN,
    ("reviews", "post"): (401, 201, 404, 201, 201, 403, 403, 201),
    ("report", "get"): (401, 202, 404, 202, 202, 202, 202, 202),
    ("signing-keys", "get"): ALL,
    ("provenance", "get"): SEEN,
    ("video-media", "get"): SEEN,
    ("segment-clip", "get"): SEEN,
    ("face-image", "get"): SEEN,
    ("face-heatmap", "get"): SEEN,
    ("sampled-frame-image", "get"): SEEN,
    ("task", "get"): SEEN,
    ("task", "delete"): (401, 409, 404, 403, 403, 403, 403, 403),  # it has ended: its owner is told so
    ("task-events", "get"): SEEN,
    ("models", "get"): KNOWN,
    ("active-model", "get"): KNOWN,
    ("uploads", "post"): (401, 201, 201, 201, 201, 201, 201, 201),
    ("uploads", "options"): (401, 204, 204, 204, 204, 204, 204, 204),
    ("upload", "get"): (401, 200, *NOBODY_ELSES),
    ("upload", "head"): (401, 200, *NOBODY_ELSES),
    ("upload", "patch"): (401, 204, *NOBODY_ELSES),
    ("upload", "delete"): (401, 204, *NOBODY_ELSES),
    ("upload", "options"): (401, 204, 204, 204, 204, 204, 204, 204),
    ("webhooks", "get"): KNOWN,
    ("webhooks", "post"): (401, 201, 201, 201, 201, 201, 201, 201),
    ("webhook", "get"): (401, 200, *NOBODY_ELSES),
    ("webhook", "delete"): (401, 204, *NOBODY_ELSES),
    ("schema", "get"): ALL,
    ("docs", "get"): ALL,
    ("healthz", "get"): ALL,
    ("readyz", "get"): ALL,
}
# Of nobody's: (nobody, uploader, reviewer, senior_reviewer, model_owner, operator, admin)
FOR_STAFF = {("metrics", "get"): (401, 403, 200, 200, 200, 200, 200)}


class Role(Caller):
    """A user as `create_token --role` makes one."""

    def __init__(self, role: str) -> None:
        token = create_token(username=role, role=role).token
        super().__init__(None)
        self._user = User.objects.get(username=role)
        self.headers = {"Authorization": f"Token {token}"}


@pytest.fixture
def foreign(owner: Caller, factory: Factory) -> Video:
    return full_video(owner, factory)


def statuses(caller: Caller, paths: dict[str, str], wanted: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """What each call answers; each is undone, so that none changes what the next finds."""
    found = {}
    for name, method in wanted:
        with transaction.atomic():
            found[name, method] = call(caller, method, name, paths[name]).status_code
            transaction.set_rollback(True)
    return found


def column(name: str) -> dict[tuple[str, str], int]:
    index = COLUMNS.index(name)
    return {key: row[index] for key, row in ACCESS.items()}


def test_every_operation_has_its_line() -> None:
    lines = [*ACCESS, *FOR_STAFF]
    assert set(operations()) == set(lines)
    assert len(lines) > 20


def test_nobody(nobody: Caller, foreign: Video) -> None:
    wanted = column("anonymous") | {key: row[0] for key, row in FOR_STAFF.items()}
    assert statuses(nobody, addresses(foreign), wanted) == wanted


@pytest.mark.parametrize("role", ROLES)
def test_of_somebody_elses(role: str, foreign: Video) -> None:
    wanted = column(role) | {key: row[1 + ROLES.index(role)] for key, row in FOR_STAFF.items()}
    assert statuses(Role(role), addresses(foreign), wanted) == wanted


@pytest.mark.parametrize("role", ROLES)
def test_of_ones_own(role: str, factory: Factory) -> None:
    caller, wanted = Role(role), column("own")
    assert statuses(caller, addresses(full_video(caller, factory)), wanted) == wanted


def test_no_other_method_is_allowed_even_to_an_administrator(foreign: Video) -> None:
    admin, known = Role("admin"), set(operations())
    for name, path in addresses(foreign).items():
        for method in METHODS:
            if (name, method) not in known:
                response = admin.request(method, path)
                assert response.status_code == 405, (name, method)
                assert response["Content-Type"] == "application/problem+json", (name, method)
