"""`manage.py benchmark_admin`: time the admin over a million videos, in a scratch database."""

from __future__ import annotations

import json
import logging
import os
import platform
import secrets
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.test.utils import override_settings
from tqdm import tqdm

from detection.management.benchmark import rows, timing
from detection.management.benchmark.rows import Made
from detection.management.benchmark.timing import Timing
from detection.models import Video

LIMIT_MS = 300
SCRATCH = "benchmark.sqlite3"
ROW = "{who:<10} {group:<28.28} {page:<58.58} {median:>9} {min:>9} {max:>9} {queries:>7}"
PHASES = {"backlog": "with a backlog", "caught_up": "with hardly anything left to review"}


class Command(BaseCommand):
    help = (
        "Fill a scratch database with videos as a year of use leaves them, and time every page of the admin, the calls"
        " of the review workspace, the REST lists and /metrics. The configured database is not touched. Exit code 1 if"
        " a median is over the limit."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--videos", type=int, default=1_000_000, metavar="N", help="how many (default: a million)")
        parser.add_argument("--repeat", type=int, default=5, metavar="N", help="how often each page is loaded")
        parser.add_argument(
            "--only", default="", metavar="WORD", help="lists and groups of pages with this in their name"
        )
        parser.add_argument("--limit-ms", type=float, default=LIMIT_MS, metavar="MS", help=f"default: {LIMIT_MS}")
        parser.add_argument("--json", action="store_true", help="one JSON object with every page instead of a table")
        parser.add_argument("--keep", action="store_true", help="leave the scratch database, and say where it is")
        parser.add_argument(
            "--database",
            choices=("sqlite", "configured"),
            default="sqlite",
            help="SQLite in a temporary folder, or a new database on the server of DATABASE_URL (needs CREATEDB)",
        )
        # Set by the command itself, for the process that measures.
        parser.add_argument("--scratch", type=Path, help="(internal)")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["videos"] < 10 or options["repeat"] < 1:
            raise CommandError("There must be at least 10 videos, and one repeat.")
        if options["scratch"] is None:
            self._start(options)
        else:
            self._measure(options)

    def _start(self, options: dict[str, Any]) -> None:
        """Run the measurement in another process whose state is all below a temporary folder."""
        folder: AbstractContextManager[str]
        if options["keep"]:
            folder = nullcontext(tempfile.mkdtemp(prefix="dfd-benchmark-"))
        else:
            folder = tempfile.TemporaryDirectory(prefix="dfd-benchmark-")
        with folder as scratch:
            (Path(scratch) / "static").mkdir()
            command = [sys.executable, "-W", "ignore", "-m", "django", "benchmark_admin", "--scratch", scratch]
            for name in ("videos", "repeat", "only", "limit_ms", "database"):
                command += [f"--{name.replace('_', '-')}", str(options[name])]
            command += [f"--{name}" for name in ("json", "keep") if options[name]]
            changes = {
                "DJANGO_SETTINGS_MODULE": "dfdsite.settings", "DFD_VAR": scratch, "DFD_LOG_LEVEL": "ERROR",
                "DFD_HTTPS": "false", "DFD_DEBUG": "false", "DFD_S3_BUCKET": "", "REDIS_URL": "",
            }  # fmt: skip
            if options["database"] == "sqlite":
                changes["DATABASE_URL"] = f"sqlite:///{scratch}/unused.sqlite3"
            elif connection.vendor == "sqlite":
                raise CommandError("DATABASE_URL names no server; --database sqlite measures SQLite.")
            done = subprocess.run(
                command, cwd=settings.BASE_DIR, env=os.environ | changes, stdout=subprocess.PIPE, text=True, check=False
            )
        self.stdout.write(done.stdout, ending="")
        if done.returncode:
            sys.exit(done.returncode)

    def _measure(self, options: dict[str, Any]) -> None:
        scratch: Path = options["scratch"]
        if Path(settings.VAR_DIR) != scratch.resolve():
            raise CommandError("--scratch is for this command itself; leave it out.")
        name = str(scratch / SCRATCH) if connection.vendor == "sqlite" else f"dfd_benchmark_{secrets.token_hex(4)}"
        configured = connection.settings_dict["NAME"]
        connection.settings_dict["TEST"]["NAME"] = name
        try:
            connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False, keepdb=True)
        except SystemExit as error:
            raise CommandError("The server of DATABASE_URL does not let its user create a database.") from error
        try:
            report = self._report(options)
        finally:
            if options["keep"]:
                self.stderr.write(f"The scratch database stays: {name}")
            connection.creation.destroy_test_db(configured, verbosity=0, keepdb=options["keep"])
        self.stdout.write(json.dumps(report) if options["json"] else _table(report))
        slow = report["over_limit"]
        if slow:
            raise CommandError(
                f"{slow} of {len(report['pages'])} medians are over {options['limit_ms']:g} ms; the slowest is"
                f" {report['slowest']['median_ms']:,.0f} ms: {report['slowest']['url']}"
            )

    def _report(self, options: dict[str, Any]) -> dict[str, Any]:
        videos, repeat, limit = options["videos"], options["repeat"], options["limit_ms"]
        started = time.monotonic()
        made = _fill(videos)
        filled = time.monotonic()
        pages: list[dict[str, Any]] = []
        plain = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
        # Static files are not collected for this: names stay as they are.
        logging.disable(logging.ERROR)  # that an address takes no GET is no news here
        with override_settings(STORAGES=settings.STORAGES | plain):
            for phase, said in PHASES.items():
                if phase == "caught_up":
                    rows.catch_up()
                    _tidy()
                for found in _timings(made, repeat, said, options["only"]):
                    pages.append({"phase": phase, **found.as_dict(), "over": found.median_ms > limit})
        return {
            "videos": Video.objects.count(),
            "limit_ms": limit,
            "repeat": repeat,
            "over_limit": sum(page["over"] for page in pages),
            "slowest": max(pages, key=lambda page: page["median_ms"]),
            "fill_s": round(filled - started, 1),
            "measure_s": round(time.monotonic() - filled, 1),
            "machine": {
                "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
                "system": f"{platform.system()} {platform.machine()}",
                "python": platform.python_version(),
            },
            "database": {
                "vendor": connection.vendor,
                "version": ".".join(map(str, connection.get_database_version())),
                "bytes": _size(),
            },
            "pages": pages,
        }


def _fill(videos: int) -> Made:
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            # Only while it is filled: a scratch database may be lost, and its rows refer to each other as they should.
            for pragma in ("synchronous = OFF", "cache_size = -500000", "foreign_keys = OFF"):
                cursor.execute(f"PRAGMA {pragma}")
    with tqdm(total=videos, desc="filling", unit="video", disable=not sys.stderr.isatty()) as bar:
        made = rows.make_rows(videos=max(0, videos - Video.objects.count()), progress=bar.update)
    connection.close()  # the next one has the product's own settings again
    _tidy()
    return made


def _tidy() -> None:
    """Checkpoint or vacuum, as a database does by itself after a while."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            cursor.execute("VACUUM (ANALYZE)")


def _timings(made: Made, repeat: int, said: str, only: str) -> list[Timing]:
    reviewer, colleagues = made.reviewers[0], made.reviewers[1:]
    timing.claim_as(colleagues)
    found: list[Timing] = []
    pages = list(timing.all_pages(root=made.root, reviewer=reviewer, owner=made.owners[0]))
    pages = [one for one in pages if only in one[2].group]
    for who, client, page in tqdm(pages, desc=said, unit="page", disable=not sys.stderr.isatty()):
        combined = " + " in page.name  # there are hundreds
        one = timing.time_page(who, client, page, repeat=min(repeat, 2) if combined else repeat)
        if one is not None:
            found.append(one)
    return found + (timing.time_workspace(reviewer, repeat=repeat) if only in "workspace" else [])


def _size() -> int:
    if connection.vendor == "sqlite":
        return os.path.getsize(connection.settings_dict["NAME"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        return int(cursor.fetchone()[0])


def _table(report: dict[str, Any]) -> str:
    """Render a line a page; of pages with two filters, the slowest of each list."""
    machine, database = report["machine"], report["database"]
    lines = [
        f"{report['videos']:,} videos, {database['vendor']} {database['version']} ({database['bytes'] / 1e9:.1f} GB),"
        f" {machine['cores']} cores, Python {machine['python']};"
        f" filled in {report['fill_s']:.0f} s, measured in {report['measure_s']:.0f} s"
    ]
    for phase, said in PHASES.items():
        lines += ["", f"{said}, in ms:"]
        lines.append(ROW.format(**{name: name for name in ("who", "group", "page", "median", "min", "max", "queries")}))
        pages = [page for page in report["pages"] if page["phase"] == phase]
        pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for page in pages:
            if " + " in page["page"]:
                pairs.setdefault((page["who"], page["group"]), []).append(page)
            else:
                lines.append(_line(page))
        for several in pairs.values():
            worst = max(several, key=lambda page: page["median_ms"])
            lines.append(_line(worst | {"page": f"{worst['page']} (slowest of {len(several)})"}))
    return "\n".join(lines)


def _line(page: dict[str, Any]) -> str:
    figures = {name: f"{page[f'{name}_ms']:.1f}" for name in ("median", "min", "max")}
    line = ROW.format(who=page["who"], group=page["group"], page=page["page"], queries=page["queries"], **figures)
    return f"{line}  over the limit" if page["over"] else line
