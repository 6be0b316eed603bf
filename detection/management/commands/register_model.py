"""`manage.py register_model`: add a file of weights to the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from detection.errors import Refused
from detection.models import ModelVersion
from detection.services.learning import registry
from ml.model.weights import BASELINE, WeightsError, file_sha256, load_weights


class Command(BaseCommand):
    help = "Register weights (safetensors, as ml.train writes them); without PATH, the ones that come with the program."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", nargs="?", type=Path, default=BASELINE, metavar="PATH")
        parser.add_argument("--name", help="instead of the name in the file")
        parser.add_argument("--activate", action="store_true", help="verdicts are this model's from now on")
        parser.add_argument("--if-none", action="store_true", help="do nothing when a model is active already")

    def handle(self, *args: Any, path: Path, **options: Any) -> None:
        active = ModelVersion.objects.filter(active=True).first()
        if options["if_none"] and active is not None:
            self.stdout.write(f"{active} is active already; nothing was registered.")
            return
        if not path.is_file():
            raise CommandError(f"There is no file {path}.")
        try:
            sha256 = file_sha256(path)
            _, info = load_weights(path, sha256=sha256)  # a file that cannot be loaded never gets in
            model = registry.register_model(
                file=path,
                name=options["name"] or info.name,
                sha256=sha256,
                config=info.config.to_dict(),
                metrics=info.metrics,
                threshold=info.threshold,
                temperature=info.temperature,
                shift=info.shift,
                experimental=info.experimental,
                training_data_sha256=info.training_data_sha256,
                trained_on=info.trained_on,
                license=info.license,
                activate=options["activate"],
            )
        except WeightsError as error:
            raise CommandError(str(error)) from error
        except Refused as error:
            raise CommandError(error.detail) from error
        state = "active" if model.active else "registered, not active"
        note = " It is experimental: people review every verdict." if model.experimental else ""
        self.stdout.write(f"{model} is {state}.{note}")
