"""`manage.py register_model`: add weights, or a detector of others, to the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from detection.errors import Refused
from detection.management.storage import storage_answers
from detection.models import ModelVersion
from ml.data.crop_pack import PackError
from ml.model.weights import BASELINE, WeightsError, file_sha256
from worker.training.registering import register_file


class Command(BaseCommand):
    help = (
        "Register weights (safetensors, as ml.train writes them); without PATH, the ones that come with the program."
        " Or a classifier of face crops that others trained, as ONNX: with --manifest (docs/training.md)."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", nargs="?", type=Path, default=BASELINE, metavar="PATH")
        parser.add_argument("--manifest", type=Path, metavar="FILE.json", help="of an ONNX file: what it is shown")
        parser.add_argument(
            "--mean", nargs="+", metavar="MODEL", help="instead of a file: the mean of versions that are registered"
        )
        parser.add_argument("--name", help="instead of the name in the file")
        parser.add_argument("--activate", action="store_true", help="verdicts are this model's from now on")
        parser.add_argument("--if-none", action="store_true", help="do nothing when a model is active already")

    @storage_answers()
    def handle(self, *args: Any, path: Path, manifest: Path | None, **options: Any) -> None:
        active = ModelVersion.objects.filter(active=True).first()
        if options["if_none"] and active is not None:
            self.stdout.write(f"{active} is active already; nothing was registered.")
            return
        if options["mean"] is None and not path.is_file():
            raise CommandError(f"There is no file {path}.")
        try:
            if options["mean"] is not None:
                model = self._mean(options)
            elif manifest is not None:
                model = self._external(path, manifest, options)
            elif path.suffix == ".onnx":
                raise CommandError("An ONNX file needs --manifest FILE.json, which says what the model is shown.")
            else:
                model = self._weights(path, options)
        except (WeightsError, PackError, OSError) as error:
            raise CommandError(str(error)) from error
        except Refused as error:
            raise CommandError(f"{error.detail} ({error.code})") from error
        state = "active" if model.active else "registered, not active"
        note = " It is experimental: people review every verdict." if model.experimental else ""
        self.stdout.write(f"{model} is {state}.{note}")

    def _external(self, path: Path, manifest: Path, options: dict[str, Any]) -> ModelVersion:
        from worker.process import runtime
        from worker.training import external

        runtime.prepare()
        return external.register(
            path, manifest, name=options["name"], activate=options["activate"], say=self.stdout.write
        )

    def _mean(self, options: dict[str, Any]) -> ModelVersion:
        from worker.process import runtime
        from worker.training import external

        runtime.prepare()
        return external.register_mean(
            options["mean"], name=options["name"], activate=options["activate"], say=self.stdout.write
        )

    def _weights(self, path: Path, options: dict[str, Any]) -> ModelVersion:
        return register_file(path, sha256=file_sha256(path), name=options["name"], activate=options["activate"])
