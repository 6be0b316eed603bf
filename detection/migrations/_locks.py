"""For migrations that change several tables while the version before works on.

Each statement locks its table until the migration's end, one after the other, and the program's own transactions take
the same tables in orders of their own: Postgres would end one of two that wait for each other, perhaps an upload.  So a
migration takes all its tables before the first change, and gives way, with nothing done, while it cannot have them.
"""

from __future__ import annotations

import time
from typing import Any

from django.db import OperationalError, migrations, transaction

PATIENCE_MS = 300
"""Less than the second after which Postgres looks for deadlocks: it is always the migration that gives way."""
GIVE_UP_S = 120.0


def lock_first(*tables: str) -> migrations.RunPython:
    """The first operation of a migration that changes these tables, or has foreign keys to them made."""

    def lock(apps: Any, schema_editor: Any) -> None:
        connection = schema_editor.connection
        if connection.vendor != "postgresql":
            return
        names = ", ".join(connection.ops.quote_name(table) for table in tables)
        deadline = time.monotonic() + GIVE_UP_S
        with connection.cursor() as cursor:
            while True:
                try:
                    with transaction.atomic(using=connection.alias):
                        cursor.execute(f"SET LOCAL lock_timeout = {PATIENCE_MS}")
                        cursor.execute(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")
                        cursor.execute("SET LOCAL lock_timeout = 0")
                    return
                except OperationalError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(PATIENCE_MS / 1000)

    return migrations.RunPython(lock, migrations.RunPython.noop)
