"""How quickly are polling clients answered while a worker is busy, and does the web process keep its size?"""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from detection.services.ops import accounts
from worker.management.arguments import between

LIMIT_MS = 100.0
CLIENTS, FLAT_CLIENTS = 200, 16
FLAT_UPLOADS = 8
NO_LIMIT = "1000000000"
positive = between(1, 10_000_000)


class Command(BaseCommand):
    help = (
        "Let clients poll their tasks, as programs do that have uploaded videos: about once a second, a connection"
        " each, with a few lists and health checks among them; whoever's video is done reads it and sends another."
        " Without --url on the product's own stack, in a scratch folder. Exit code 1 if the p99 is over the limit, or"
        " at any error. Needs the extra `load`."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--url", help="a server that runs; what is uploaded there is deleted at the end")
        parser.add_argument(
            "--token-file", type=Path, metavar="FILE", help="with --url: tokens, one a line; each may ask so often"
        )
        parser.add_argument("--pid", type=positive, help="with --url, of its web server here: report its memory")
        parser.add_argument("--clients", type=positive, help=f"default: {CLIENTS}, with --flat {FLAT_CLIENTS}")
        parser.add_argument("--seconds", type=positive, default=60, help="to measure for (60)")
        parser.add_argument("--warmup", type=positive, default=10, metavar="SECONDS", help="before that (10)")
        parser.add_argument(
            "--pace", type=float, default=1.0, metavar="SECONDS", help="between a client's requests (1)"
        )
        parser.add_argument(
            "--uploads", type=positive, metavar="N", help=f"videos at first (one a client; with --flat {FLAT_UPLOADS})"
        )
        parser.add_argument(
            "--clip", type=Path, action="append", metavar="FILE", help="instead of the demo clips (MP4)"
        )
        parser.add_argument("--weights", type=Path, metavar="FILE", help="instead of those that come with the program")
        parser.add_argument(
            "--flat", action="store_true", help="back to back instead: does the memory grow? The p99 has no limit then"
        )
        parser.add_argument("--requests", type=positive, default=0, metavar="N", help="with --flat: end after so many")
        parser.add_argument(
            "--limit-mb", type=float, default=1.0, metavar="MB", help="with --flat: growth per 10,000 requests (1)"
        )
        parser.add_argument("--limit-ms", type=float, default=LIMIT_MS, metavar="MS", help=f"default: {LIMIT_MS:g}")
        parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
        # Set by the command itself, in the scratch folder.
        parser.add_argument("--make-tokens", type=positive, help="(internal)")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["make_tokens"]:
            made = [accounts.create_token(username=f"load-{number}") for number in range(options["make_tokens"])]
            self.stdout.write("\n".join(new.token for new in made))
            return
        try:
            from worker.bench.load import report as loadtest_shown
            from worker.bench.load import stack
            from worker.bench.load.client import Plan
        except ImportError as error:
            raise CommandError(f"{error.name} is not installed. Run `pip install 'deepfake-desk[load]'`.") from error

        flat, clients = options["flat"], options["clients"] or (FLAT_CLIENTS if options["flat"] else CLIENTS)
        uploads = options["uploads"] or (FLAT_UPLOADS if flat else clients)
        if options["pace"] <= 0:
            raise CommandError("--pace must be more than 0; --flat asks back to back.")
        if options["requests"] and not flat:
            raise CommandError("--requests goes with --flat.")
        clips = _clips(options["clip"])
        try:
            with self._server(options, users=min(uploads, clients), flat=flat) as server:
                plan = Plan(
                    url=server.url,
                    tokens=server.tokens,
                    clips=[str(clip) for clip in clips],
                    clients=clients,
                    seconds=options["seconds"],
                    warmup_s=options["warmup"],
                    pace_s=0.0 if flat else options["pace"],
                    uploads=uploads,
                    requests=options["requests"],
                    go_on=not flat,
                    tidy=bool(options["url"]),
                )
                report = stack.measure(server, plan, limit_ms=options["limit_ms"], say=self._say)
        except stack.LoadTestError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(json.dumps(report, indent=1) if options["json"] else loadtest_shown.table(report))
        complaints = loadtest_shown.complaints(report, limit_mb=options["limit_mb"])
        if complaints:
            raise CommandError(" ".join(complaints))

    def _server(self, options: dict[str, Any], *, users: int, flat: bool) -> AbstractContextManager[Any]:
        from worker.bench.load import stack

        if options["url"] is None:
            for name in ("token_file", "pid"):
                if options[name] is not None:
                    raise CommandError(f"--{name.replace('_', '-')} goes with --url.")
            # A few users ask in a minute what thousands do; the requests are counted all the same.
            more = {"DFD_MAX_REQUESTS_A_MINUTE": NO_LIMIT} if flat else {}
            return stack.own_stack(users=users, say=self._say, weights=options["weights"], **more)
        if options["token_file"] is None:
            raise CommandError("--url needs --token-file; `manage.py create_token USER` prints a token.")
        try:
            tokens = options["token_file"].read_text().split()
        except OSError as error:
            raise CommandError(f"{options['token_file']} cannot be read: {error.strerror}.") from error
        if not tokens:
            raise CommandError(f"{options['token_file']} has no token.")
        return nullcontext(stack.running(options["url"], tokens, options["pid"]))

    def _say(self, text: str) -> None:
        end = "\r" if sys.stderr.isatty() else "\n"
        self.stderr.write(f"{text:<60}", ending=end)


def _clips(given: list[Path] | None) -> list[Path]:
    clips = given or sorted((Path(settings.BASE_DIR) / "demo" / "clips").glob("*.mp4"))
    missing = [str(clip) for clip in clips if not clip.is_file()]
    if missing:
        raise CommandError(f"There is no file {', '.join(missing)}.")
    if not clips:
        raise CommandError("The demo clips are not here; name others with --clip.")
    return [clip.resolve() for clip in clips]
