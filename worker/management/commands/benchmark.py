"""How fast is it here?  The naive pipeline, the product and the floor on the same clips, in turns, in one run."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from worker.management.arguments import between, files_in
from worker.process import host

SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".ts"}
count = between(0, 100)


class Command(BaseCommand):
    help = (
        "Time the naive pipeline, the product's path and the floor (what is needed at least) on the same clips in one"
        " run.  Needs no database."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="videos, or folders of them")
        parser.add_argument("--repeat", type=count, default=5, help="turns of the product and the floor (5)")
        parser.add_argument(
            "--naive-repeat", type=count, default=1, help="turns of the naive pipeline, a minute each at 1080p (1)"
        )
        parser.add_argument("--weights", type=Path, help="instead of those that come with the program")
        parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
        parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the stages too")
        parser.add_argument(
            "--accuracy",
            action="store_true",
            help="instead of times: does it find whom the detector finds at full size, and score as float32 does?",
        )
        parser.add_argument(
            "--stride", type=count, default=5, help="with --accuracy: full size in every N-th frame; 1 is all (5)"
        )
        parser.add_argument(
            "--throughput",
            type=between(1, 100_000),
            metavar="N",
            help="instead: N videos of the clips (MP4) through API, queue and workers, and through the bare pipeline in"
            " as many processes; needs the extra `load`",
        )
        parser.add_argument(
            "--processes",
            type=between(1, 1000),
            default=host.cores(),
            help="with --throughput: processes of the worker, and of the bare pipeline (as many as there are cores)",
        )
        parser.add_argument(
            "--scoring", action="store_true", help="instead: videos a second of the network alone, some together"
        )
        parser.add_argument("--compare", type=Path, metavar="FILE.json", help="with an earlier --json: by ratios")

    def handle(self, *args: Any, paths: list[Path], **options: Any) -> None:
        from ml.model.weights import BASELINE, WeightsError
        from worker.bench import pipeline, pipeline_report

        before = _read(options["compare"])
        files = [Path(os.path.abspath(path)) for path in files_in(paths, SUFFIXES)]
        if options["repeat"] < 1:
            raise CommandError("--repeat must be at least 1.")
        pipeline.use_all_cores()
        weights = options["weights"] or BASELINE
        if options["throughput"]:
            self._throughput(files, weights, options)
            return
        try:
            if options["accuracy"]:
                found = pipeline.accuracy(files, weights, stride=max(1, options["stride"]), say=self._say)
                self.stdout.write(json.dumps(found, indent=1) if options["json"] else pipeline_report.accuracy(found))
                if found["lost"]:
                    raise CommandError("Somebody was lost that the full search finds.")
                return
            if options["scoring"]:
                found = pipeline.scoring(files, weights, repeat=options["repeat"], say=self._say)
                self.stdout.write(json.dumps(found, indent=1) if options["json"] else pipeline_report.scoring(found))
                return
            clips = pipeline.measure(
                files, weights, repeat=options["repeat"], naive_repeat=options["naive_repeat"], say=self._say
            )
            self._say("memory, in a process of its own")
            report = pipeline.report(clips, memory=pipeline.peak_memory(files, weights))
        except (pipeline.BenchmarkError, WeightsError) as error:
            raise CommandError(str(error)) from error
        if options["plot"]:
            pipeline_report.plot(report, options["plot"])
        if options["json"]:
            self.stdout.write(json.dumps(report, indent=1))
        else:
            self.stdout.write(pipeline_report.table(report))
        if before is not None:
            slower = pipeline_report.slower(before, report)
            if slower:
                raise CommandError(" ".join(slower))

    def _throughput(self, files: list[Path], weights: Path, options: dict[str, Any]) -> None:
        try:
            from worker.bench import throughput
            from worker.bench.load import stack
        except ImportError as error:
            raise CommandError(f"{error.name} is not installed. Run `pip install 'deepfake-desk[load]'`.") from error
        from worker.bench import pipeline_report

        try:
            report = throughput.measure(
                files, weights, videos=options["throughput"], processes=options["processes"], say=self._say
            )
        except stack.LoadTestError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(json.dumps(report, indent=1) if options["json"] else pipeline_report.throughput(report))

    def _say(self, text: str) -> None:
        end = "\r" if sys.stderr.isatty() else "\n"
        self.stderr.write(f"{text:<60}", ending=end)


def _read(path: Path | None) -> Any:
    if path is None:
        return None
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CommandError(f"{path} is no earlier `benchmark --json`: {error}") from error
