"""Check an ONNX file in a process of its own, and write it together with its manifest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from ml.model.external.manifest import Manifest, ModelRefused
from ml.model.external.rules import KEY

MAX_FILE_BYTES = 512 * 1024**2
WALL_S = 600
COPY_BYTES = 1024**2
METADATA_FIELD = 14
"""`metadata_props` of ONNX's ModelProto, whose entries are (1: key, 2: value)."""


def check_model(path: Path, manifest: Manifest) -> None:
    """Hold a file against its manifest and the rules.

    Nothing of it is read in this process.

    Raises:
        ModelRefused: `unreadable`, `too_large`, `external_data`, `custom_operators`, `refused_operator`,
            `unsupported_opset`, `missing_input`, `missing_output`, `too_many_inputs`, `wrong_input`, `wrong_output`,
            `not_finite`, `not_reproducible`, `cannot_run`, `too_much_memory`, `too_much_time`, `manifest_inside`.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ModelRefused("unreadable", f"The file cannot be read: {error.strerror}.") from error
    if size > MAX_FILE_BYTES:
        raise ModelRefused(
            "too_large", f"The file has {size / 1024**2:,.0f} MB; at most {MAX_FILE_BYTES // 1024**2} are read."
        )
    environment = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path), "LC_ALL": "C.UTF-8"}
    with tempfile.TemporaryDirectory(prefix="dfd-check-") as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "ml.model.external.rules", str(path.resolve())],
                input=json.dumps(asdict(manifest)),
                capture_output=True,
                text=True,
                timeout=WALL_S,
                check=False,
                cwd=folder,
                env=environment,
            )
        except subprocess.TimeoutExpired as error:
            raise ModelRefused("too_much_time", f"Checking the model took more than {WALL_S} s.") from error
    if done.returncode == -24:  # SIGXCPU
        raise ModelRefused("too_much_time", "The model needs too much processor time for three pictures or sequences.")
    try:
        answer = json.loads(done.stdout)
    except ValueError as error:
        raise ModelRefused("unreadable", "The file broke the program that reads it: no ONNX model does.") from error
    if answer:
        raise ModelRefused(str(answer["code"]), str(answer["detail"]))


def write_with_manifest(model: Path, manifest: Manifest, to: Path) -> None:
    """Write a checked model followed by its manifest; one that `model` has already makes room for it."""
    size = manifest.model_bytes or model.stat().st_size
    body = replace(manifest, model_bytes=size).to_json().encode()
    with model.open("rb") as source, to.open("wb") as target:
        for start in range(0, size, COPY_BYTES):
            target.write(source.read(min(COPY_BYTES, size - start)))
        target.write(_field(METADATA_FIELD, _field(1, KEY.encode()) + _field(2, body)))


def _field(number: int, value: bytes) -> bytes:
    """Return protobuf's encoding of a field of bytes."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
