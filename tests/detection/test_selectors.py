"""Who sees what, below any view."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User

from detection.models import Analysis, FaceFrame, SampledFrame, Video
from detection.selectors import permissions
from detection.selectors import videos as selectors

pytestmark = pytest.mark.django_db


def make_video(owner: User) -> Video:
    video = Video.objects.create(owner=owner, original_name="a", sha256=uuid4().hex * 2, size_bytes=1, file="x")
    Analysis.objects.create(video=video)
    facts = {"video": video, "frame_number": 0, "timestamp_s": 0.0, "position": 0}
    FaceFrame.objects.create(**facts, track=0, x1=0, y1=0, x2=1, y2=1, probability=1, crop="x")
    SampledFrame.objects.create(**facts, image="x")
    return video


@pytest.fixture
def users(db: None) -> dict[str, permissions.User]:
    reviewer = User.objects.create_user("reviewer")
    reviewer.groups.add(Group.objects.get(name="reviewer"))
    uploader = User.objects.create_user("uploader")
    uploader.groups.add(Group.objects.get(name="uploader"))
    return {
        "owner": User.objects.create_user("owner"),
        "uploader": uploader,
        "reviewer": reviewer,
        "admin": User.objects.create_superuser("admin"),
        "left": User.objects.create_superuser("left", is_active=False),
        "nobody": AnonymousUser(),
    }


def test_each_role_may_do_its_part_and_no_more(users: dict[str, permissions.User]) -> None:
    owner = users["owner"]
    assert isinstance(owner, User)
    video = make_video(owner)
    rules = (permissions.may_see, permissions.may_have_opinion, permissions.may_analyze, permissions.may_delete)
    allowed = {name: [rule(user=user, video=video) for rule in rules] for name, user in users.items()}
    assert allowed == {
        "owner": [True, True, True, True],
        "uploader": [False, False, False, False],
        "reviewer": [True, False, False, False],
        "admin": [True, False, True, True],
        "left": [False, False, False, False],
        "nobody": [False, False, False, False],
    }
    assert [name for name, user in users.items() if permissions.may_review(user=user)] == ["reviewer", "admin"]
    assert [name for name, user in users.items() if permissions.may_adjudicate(user=user)] == ["admin"]


def test_what_belongs_to_a_video_is_seen_by_whoever_sees_the_video(users: dict[str, permissions.User]) -> None:
    owner = users["owner"]
    assert isinstance(owner, User)
    video = make_video(owner)
    face, frame = FaceFrame.objects.get(), SampledFrame.objects.get()
    task_id = Analysis.objects.get().pk
    for name, user in users.items():
        sees = name in ("owner", "reviewer", "admin")
        assert permissions.may_see(user=user, video=video) is sees
        assert (video in selectors.visible_videos(user=user)) is sees
        assert (video in selectors.videos_with_answers(user=user)) is sees
        assert (selectors.visible_analysis(user=user, task_id=task_id) is not None) is sees
        assert (selectors.visible_face(user=user, face_id=face.pk) == face) is sees
        assert (selectors.visible_sampled_frame(user=user, frame_id=frame.pk) == frame) is sees


def test_open_analyses_are_counted_per_owner(users: dict[str, permissions.User]) -> None:
    owner, uploader = users["owner"], users["uploader"]
    assert isinstance(owner, User)
    assert isinstance(uploader, User)
    videos = [make_video(owner), make_video(owner), make_video(uploader)]
    assert selectors.open_analyses(owner_id=owner.pk) == 2
    assert selectors.has_open_analysis(video=videos[0])
    Analysis.objects.filter(video=videos[0]).delete()
    assert not selectors.has_open_analysis(video=videos[0])
    assert selectors.open_analyses(owner_id=owner.pk) == 1
