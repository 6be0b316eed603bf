"""Hostile files by the thousand: does each end with a clear answer, and does none reach beyond itself?"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from worker.management.arguments import files_in

DEMO_CLIPS = settings.BASE_DIR / "demo" / "clips"


class Command(BaseCommand):
    help = (
        "Mutate videos (bits, sizes, codes, dimensions, scripts) and look at each as at an upload: check, decode, trim,"
        " in processes under limits.  Ends with 1 if anything was not contained.  Needs no database."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "paths",
            nargs="*",
            type=Path,
            metavar="PATH",
            help="videos to mutate, or folders (the demo's and made ones)",
        )
        parser.add_argument("--files", type=int, default=1000, help="how many mutants (1000)")
        parser.add_argument("--seconds", type=float, help="end after so many, whatever is left")
        parser.add_argument("--seed", type=int, default=1, help="another number makes other mutants (1)")
        parser.add_argument("--limit-s", type=float, default=30.0, help="seconds that one file may take (30)")
        parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="at once (the cores)")
        parser.add_argument("--keep", type=Path, metavar="FOLDER", help="for the files that stand out (DFD_VAR/fuzz)")
        parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")

    def handle(self, *args: Any, paths: list[Path], **options: Any) -> None:
        from ml.bench.fuzz.mutate import read_seeds
        from ml.bench.fuzz.seeds import write_seeds
        from ml.config import VideoConfig
        from worker.bench.fuzz.canary import Canary
        from worker.bench.fuzz.run import FuzzError, Run, fuzz
        from worker.stages.watchdog import file_limits

        if options["files"] < 0 or options["processes"] < 1 or options["limit_s"] <= 0:
            raise CommandError("--files must be at least 0, --processes at least 1, --limit-s more than 0.")
        with tempfile.TemporaryDirectory(prefix="dfd-fuzz-") as root:
            made, work = Path(root) / "seeds", Path(root) / "work"
            made.mkdir()
            work.mkdir()
            generated = write_seeds(made)
            if not generated:
                raise CommandError("This installation of FFmpeg can encode nothing to begin with.")
            seeds = read_seeds(files_in(paths) if paths else [*sorted(DEMO_CLIPS.glob("*.mp4")), *generated])
            run = Run(
                seeds=seeds,
                key=options["seed"],
                files=options["files"],
                seconds=options["seconds"],
                processes=options["processes"],
                folder=work,
                keep=options["keep"] or settings.VAR_DIR / "fuzz",
                limits=file_limits(),
                wall_s=options["limit_s"],
                config=VideoConfig(
                    max_duration_s=float(settings.DFD_MAX_DURATION_S), max_pixels=int(settings.DFD_MAX_FRAME_PIXELS)
                ),
            )
            with Canary(work, generated[0]) as canary:
                try:
                    report = fuzz(run, canary, progress=self._progress)
                except FuzzError as error:
                    raise CommandError(str(error)) from error
        self._progress(0, 0)
        if options["json"]:
            self.stdout.write(json.dumps(report.as_json(), indent=1))
        else:
            self._show(report, run.keep)
        if report.problems:
            raise CommandError("Not contained:\n" + "\n".join(report.problems))

    def _show(self, report: Any, keep: Path) -> None:
        for code, count in report.outcomes.most_common():
            self.stdout.write(f"{count:>8,}  {code}")
        for finding in report.findings:
            self.stdout.write(f"{finding.code}: file {finding.number}, {finding.seed}: {finding.how}")
        self.stdout.write(
            f"{report.files:,} files in {report.seconds:,.0f} s; the slowest took {report.slowest_s:.1f} s, the largest"
            f" {report.peak_mb:,.0f} MB. {len(report.findings)} kept in {keep}."
        )
        if not report.canary_watches_files:
            self.stdout.write("Whether a foreign file was opened could not be watched here: that needs Linux.")

    def _progress(self, done: int, total: int) -> None:
        if sys.stderr.isatty():
            self.stderr.write(f"{done:,} of {total:,}" if total else "", ending="   \r")
