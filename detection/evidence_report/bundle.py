"""The bundle's format: a zip archive without compression whose every byte follows from its files.

    manifest.json   name, size and SHA-256 of every other file, what the report is of, the numbers of the audit entries
    signature.json  {"algorithm": "Ed25519", "public_key", "signature"} over `CONTEXT` and the manifest's bytes
    report.json     the report for programs      report.pdf  the same for people
    audit.json      entries of the audit log, and the hashes of the chain that binds them
    faces/, heatmaps/, frames/   pictures

Local headers and central directory have fixed fields, so that `pack(unpack(data)) == data` holds for every bundle: no
byte of it can be changed without being noticed; signature.json has one form as well.  `verify.js` holds the same in a
browser.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from detection.evidence_report.signing import PublicKey, public_key_of

FORMAT = "deepfake-desk evidence report"
VERSION = 1
CONTEXT = b"deepfake-desk evidence report v1\n"
ALGORITHM = "Ed25519"
MANIFEST, SIGNATURE, REPORT, PDF, AUDIT = (
    "manifest.json", "signature.json", "report.json", "report.pdf", "audit.json",
)  # fmt: skip
MAX_FILES = 4000
MAX_NAME = 100

_LOCAL = struct.Struct("<IHHHHHIIIHH")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_END = struct.Struct("<IHHHHIIH")
_LOCAL_MARK, _CENTRAL_MARK, _END_MARK = 0x04034B50, 0x02014B50, 0x06054B50
_ZIP_VERSION, _MADE_BY = 20, 0x0314
_DATE = (1 << 5) | 1  # 1 January 1980
_MODE = 0o100644 << 16


class NoBundleError(ValueError):
    """The bytes are no archive as `pack` makes it; the message is a sentence."""


def build(files: Mapping[str, bytes], *, facts: Mapping[str, Any], key: Ed25519PrivateKey) -> bytes:
    """Return the signed bundle of `files`; `facts` are JSON values for the manifest."""
    manifest = to_json(
        {
            "format": FORMAT,
            "version": VERSION,
            **facts,
            "files": [
                {"name": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                for name, content in sorted(files.items())
            ],
        }
    )
    signature = signature_file(public_key_of(key), key.sign(CONTEXT + manifest))
    return pack({MANIFEST: manifest, SIGNATURE: signature, **dict(sorted(files.items()))})


def signature_file(key: PublicKey, signature: bytes) -> bytes:
    """Return signature.json, which no hash and no signature protects: these bytes are the only ones accepted."""
    value = {"algorithm": ALGORITHM, "public_key": key.text, "signature": base64.b64encode(signature).decode()}
    return to_json(value)


def to_json(value: Any) -> bytes:
    """Return JSON for people and programs, in ASCII."""
    return json.dumps(value, indent=1, ensure_ascii=True, allow_nan=False).encode() + b"\n"


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return the archive of `files`, in their order."""
    local, central = bytearray(), bytearray()
    for name, content in files.items():
        encoded = name.encode("ascii")
        fields = (_ZIP_VERSION, 0, 0, 0, _DATE, zlib.crc32(content), len(content), len(content), len(encoded), 0)
        central += _CENTRAL.pack(_CENTRAL_MARK, _MADE_BY, *fields, 0, 0, 0, _MODE, len(local)) + encoded
        local += _LOCAL.pack(_LOCAL_MARK, *fields) + encoded + content
    return bytes(local + central + _END.pack(_END_MARK, 0, 0, len(files), len(files), len(central), len(local), 0))


def unpack(data: bytes) -> dict[str, bytes]:
    """Return the files of an archive, with whatever they hold.  Raises NoBundleError."""
    files: dict[str, bytes] = {}
    position = 0
    while data[position : position + 4] == _LOCAL_MARK.to_bytes(4, "little"):
        try:
            _, _, flags, method, _, _, _, stored, size, name_size, extra_size = _LOCAL.unpack_from(data, position)
        except struct.error as error:
            raise NoBundleError("The archive breaks off: a part of the file is missing.") from error
        begin = position + _LOCAL.size + name_size + extra_size
        position = begin + stored
        if flags or method or stored != size:
            raise NoBundleError("The archive was packed anew: a report is stored without compression.")
        if position > len(data):
            raise NoBundleError("The archive breaks off: a part of the file is missing.")
        name = data[begin - extra_size - name_size : begin - extra_size].decode("ascii", "replace")
        if name in files:
            raise NoBundleError(f"The archive has two files of the name {shown(name)}.")
        if len(files) == MAX_FILES:
            raise NoBundleError(f"The archive has more than {MAX_FILES} files.")
        files[name] = data[begin:position]
    if not files:
        raise NoBundleError("This is no evidence report: it does not begin as a zip archive does.")
    return files


def is_as_packed(data: bytes, files: Mapping[str, bytes]) -> bool:
    """Return whether the archive is what `pack` makes of its files, in the order of `build`, to the last byte."""
    if list(files) != [MANIFEST, SIGNATURE, *sorted(set(files) - {MANIFEST, SIGNATURE})]:
        return False
    try:
        return pack(files) == data
    except (UnicodeEncodeError, struct.error):
        return False


def shown(name: str) -> str:
    """Return a name that came with a file as it may be shown: short, and without control characters."""
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in name[:MAX_NAME])
