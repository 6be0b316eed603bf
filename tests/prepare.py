"""What `tests.installation` makes besides the tables, in one process: a client, static files, a tiny model."""

from __future__ import annotations

import shutil
import sys
from io import StringIO
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connections


def prepare(folder: Path, client: str) -> None:
    """Fill `folder`, whose `with_model` is this process's `DFD_VAR`."""
    from detection.models import ModelVersion
    from tests.weights import save_tiny
    from worker.process import runtime

    token = StringIO()
    call_command("create_token", client, stdout=token)
    (folder / "token").write_text(token.getvalue().strip())
    connections.close_all()
    shutil.copytree(settings.VAR_DIR, folder / "without_model")
    call_command("collectstatic", interactive=False, verbosity=0)
    Path(settings.STATIC_ROOT).rename(folder / "static")
    save_tiny(folder / "tiny.safetensors")
    call_command("register_model", str(folder / "tiny.safetensors"), activate=True, stdout=StringIO())
    # Once for all copies: what a worker makes of weights at its first verdict.
    runtime.load_classifier(ModelVersion.objects.get(active=True))
    connections.close_all()


if __name__ == "__main__":
    django.setup()
    prepare(Path(sys.argv[1]), sys.argv[2])
