"""The Python examples of the documents run as they stand, against the application."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from deepfake_desk_client import Client
from tests.api.conftest import mp4
from tests.client.conftest import URL

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2]
PAGES = ("docs/api.md", "client/README.md")


def examples(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)


@pytest.mark.parametrize("page", PAGES)
def test_a_documents_examples_run(
    page: str,
    desk: Client,
    token: str,
    worker: Callable[[], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(mp4(seed=1))
    worker()
    code = "\n".join(examples(page))
    assert "Client(" in code
    names = {"TOKEN": token}
    exec(compile(code.replace("http://127.0.0.1:8000", URL), page, "exec"), names)  # our own documents
    printed = capsys.readouterr().out
    assert "verdict: fake (0.900" in printed
    assert ("409 already_ended" in printed) == ("desk.cancel(" in code)


def test_the_readme_shows_the_client() -> None:
    shown = "\n".join(examples("README.md"))
    assert shown
    for line in shown.splitlines():
        assert line in (ROOT / "client" / "README.md").read_text(), line
