"""Mutations of video files; the same seed and number give the same bytes on every machine."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from ml.bench.fuzz import scripts
from ml.bench.fuzz.scripts import Bait

SCRIPT_SHARE = 0.12
CHANGES_AT_ONCE = (1, 1, 1, 2, 2, 3, 4)
TRIES = 8
LARGE_BYTES = 100_000
_NONE = ""
_WORDS = (
    b"ftyp", b"moov", b"mdat", b"free", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"stts", b"stss", b"stsc", b"stsz",
    b"stco", b"co64", b"ctts", b"elst", b"edts", b"tkhd", b"mvhd", b"mdhd", b"hdlr", b"dinf", b"dref", b"url ", b"alis",
    b"udta", b"meta", b"moof", b"traf", b"tfhd", b"trun", b"tfdt", b"sidx", b"mvex", b"trex", b"mfra", b"cmov", b"uuid",
    b"avc1", b"avcC", b"hev1", b"hvc1", b"hvcC", b"av01", b"av1C", b"vp09", b"vpcC", b"mp4v", b"esds", b"mjpa", b"jpeg",
    b"s263", b"SVQ3", b"cvid", b"rle ", b"smc ", b"tscc", b"dvc ", b"ap4h", b"apcn", b"AVdn", b"icod", b"png ", b"gif ",
    b"raw ", b"yuv2", b"v210", b"Hap1", b"CFHD", b"FFV1", b"HFYU", b"MJPG", b"XVID", b"DIV3", b"WMV3", b"WVC1", b"IV50",
    b"MSVC", b"G2M4", b"MSS2", b"VP80", b"VP60", b"THEO", b"drac", b"sptl", b"pasp", b"colr", b"clap", b"RIFF", b"LIST",
    b"AVI ", b"movi", b"idx1", b"strf", b"strh", b"avih", b"indx", b"dmlh", b"00dc", b"01wb", b"OggS", b"acTL", b"fcTL",
    b"fdAT", b"IHDR", b"IDAT", b"keys", b"tmcd", b"rtp ", b"sdp ", b"rmra", b"rmda", b"rdrf", b"wide", b"SEFH", b"senc",
)  # fmt: skip
_EBML = (
    b"\x1aE\xdf\xa3", b"\x18S\x80g", b"\x15I\xa9f", b"\x16T\xaek", b"\x1fC\xb6u", b"\x1cS\xbbk", b"\x19A\xa4i",
    b"\x11M\x9bt", b"\xae", b"\xe0", b"\xa3", b"\xa1", b"\xb0", b"\xba", b"\x86", b"c\xa2", b"mg", b"m\x80",
)  # fmt: skip
_ODD32 = (0, 1, 7, 8, 16, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFF0, 0x20000000)
_SIDES = (0, 1, 2, 3, 7, 15, 17, 4096, 7680, 8192, 8193, 16384, 32767, 65535)
_COUNTED = (b"stts", b"stss", b"stsc", b"stsz", b"stco", b"co64", b"ctts", b"elst", b"stsd", b"dref", b"trun", b"sidx")
_HEAD = 4096


@dataclass(frozen=True)
class Seed:
    """A file to mutate."""

    name: str
    suffix: str
    data: bytes


@dataclass(frozen=True)
class Mutant:
    """One hostile file, and how it was made."""

    number: int
    name: str
    """Name of the seed."""
    suffix: str
    data: bytes
    how: str


def read_seeds(paths: Sequence[Path]) -> list[Seed]:
    """Read the files in the order given."""
    return [Seed(path.name, path.suffix or ".bin", path.read_bytes()) for path in paths]


def mutant(seeds: Sequence[Seed], *, key: int, number: int, bait: Bait) -> Mutant:
    """Return the mutant of this number; with the same seeds, key and bait it is always the same.

    The first numbers are the unchanged seeds.  Large seeds come up less often, as they cost the most time.
    """
    if number < len(seeds):
        return Mutant(number, seeds[number].name, seeds[number].suffix, seeds[number].data, "as it is")
    dice = Random(f"{key}/{number}")  # nosec B311 # must be the same each time
    seed = dice.choices(seeds, [1 / (LARGE_BYTES + len(seed.data)) for seed in seeds])[0]
    if dice.random() < SCRIPT_SHARE:
        name = dice.choice(scripts.NAMES)
        data, where = scripts.posing(scripts.script(name, bait, dice), seed.data, dice)
        suffix = dice.choice((".mp4", seed.suffix, ".m3u8", ".txt"))
        return Mutant(number, seed.name, suffix, data, f"script {name} {where}")
    buffer = bytearray(seed.data)
    how = []
    for _ in range(dice.choice(CHANGES_AT_ONCE)):
        for _ in range(TRIES):  # not every change can be made to every file
            change = dice.choice(_CHANGES)
            what = change(buffer, dice, bait)
            if what != _NONE:
                how.append(f"{change.__name__.strip('_')} {what}")
                break
    return Mutant(number, seed.name, seed.suffix, bytes(buffer), "; ".join(how))


# --- without knowing the format ------------------------------------------------------------------------------------


def _flip_bits(data: bytearray, dice: Random, bait: Bait) -> str:
    count = dice.choice((1, 2, 8, 64, 512))
    reach = min(len(data), dice.choice((_HEAD, len(data))))
    for _ in range(count if reach else 0):
        data[dice.randrange(reach)] ^= 1 << dice.randrange(8)
    return f"{count} in {reach}"


def _overwrite(data: bytearray, dice: Random, bait: Bait) -> str:
    start, end = _chunk(data, dice)
    match dice.randrange(3):
        case 0:
            data[start:end] = bytes(end - start)
        case 1:
            data[start:end] = b"\xff" * (end - start)
        case _:
            data[start:end] = dice.randbytes(end - start)
    return f"{start}..{end}"


def _delete(data: bytearray, dice: Random, bait: Bait) -> str:
    start, end = _chunk(data, dice)
    del data[start:end]
    return f"{start}..{end}"


def _duplicate(data: bytearray, dice: Random, bait: Bait) -> str:
    start, end = _chunk(data, dice)
    at = dice.randrange(len(data) + 1)
    data[at:at] = data[start:end]
    return f"{start}..{end} at {at}"


def _truncate(data: bytearray, dice: Random, bait: Bait) -> str:
    end = dice.randrange(len(data) + 1)
    del data[end:]
    return str(end)


def _number(data: bytearray, dice: Random, bait: Bait) -> str:
    """Write an odd number somewhere, in either byte order."""
    if len(data) < 8:
        return _NONE
    at = dice.randrange(min(len(data), dice.choice((_HEAD, len(data)))) - 4)
    value = dice.choice(_ODD32)
    data[at : at + 4] = struct.pack(dice.choice("<>") + "I", value)
    return f"{value:#x} at {at}"


def _address(data: bytearray, dice: Random, bait: Bait) -> str:
    """Write a name of the bait over or between what is there."""
    target = bait.target(dice).encode()
    at = dice.randrange(len(data) + 1)
    data[at : at + len(target) * dice.randrange(2)] = target
    return f"{target.decode()} at {at}"


# --- knowing it ----------------------------------------------------------------------------------------------------


def _four_letters(data: bytearray, dice: Random, bait: Bait) -> str:
    """Replace one four-letter code by another."""
    at = _find(data, _WORDS, dice)
    if at is None:
        return _NONE
    before, after = bytes(data[at : at + 4]), dice.choice(_WORDS)
    data[at : at + 4] = after
    return f"{_shown(before)} to {_shown(after)} at {at}"


def _box_size(data: bytearray, dice: Random, bait: Bait) -> str:
    """Change the length before an mp4 box, or after the code of an AVI chunk."""
    at = _find(data, _WORDS, dice)
    if at is None:
        return _NONE
    riff = data[:4] == b"RIFF"
    where = at + 4 if riff else at - 4
    if where < 0 or where + 4 > len(data):
        return _NONE
    order = "<I" if riff else ">I"
    (size,) = struct.unpack_from(order, data, where)
    value = dice.choice((*_ODD32, (size + dice.randint(-16, 16)) % 2**32, size * 2 % 2**32))
    struct.pack_into(order, data, where, value)
    return f"{_shown(bytes(data[at : at + 4]))} {size} to {value}"


def _element_size(data: bytearray, dice: Random, bait: Bait) -> str:
    """Change the length of a Matroska element."""
    at = _find(data, _EBML, dice)
    if at is None:
        return _NONE
    length = next(len(code) for code in _EBML if data.startswith(code, at))
    value = dice.choice(
        (b"\x01" + b"\xff" * 7, b"\x01" + dice.randbytes(7), b"\x80", b"\xff", b"\x00", b"\x08" + b"\xff" * 4)
    )
    data[at + length : at + length + len(value)] = value
    return f"at {at}"


def _count(data: bytearray, dice: Random, bait: Bait) -> str:
    """Change the number of entries of an mp4 table, or one of its entries."""
    at = _find(data, _COUNTED, dice)
    if at is None:
        return _NONE
    where, value = at + 8 + 4 * dice.choice((0, 0, 0, 1, 2, 3, 5)), dice.choice(_ODD32)
    if where + 4 > len(data):
        return _NONE
    struct.pack_into(">I", data, where, value)
    return f"{_shown(bytes(data[at : at + 4]))} {value:#x} at {where}"


def _sides(data: bytearray, dice: Random, bait: Bait) -> str:
    """Change width and height, where the container stores them."""
    width, height = dice.choice(_SIDES), dice.choice(_SIDES)
    if data[:4] == b"DKIF" and len(data) > 16:
        struct.pack_into("<HH", data, 12, width, height)
    elif data[:3] == b"GIF" and len(data) > 10:
        struct.pack_into("<HH", data, 6, width, height)
    elif (at := data.find(b"IHDR")) > 0 and len(data) > at + 12:
        struct.pack_into(">II", data, at + 4, width, height)
    elif (at := data.find(b"strf")) > 0 and len(data) > at + 20:
        struct.pack_into("<ii", data, at + 12, width, height)
    elif (at := _find(data, (b"avc1", b"hev1", b"hvc1", b"av01", b"vp09", b"mp4v", b"s263"), dice) or 0) and (
        len(data) > at + 32
    ):
        struct.pack_into(">HH", data, at + 28, width, height)
    elif (at := _find(data, (b"\xb0\x82", b"\xba\x82", b"\xb0\x81", b"\xba\x81"), dice) or 0) and len(data) > at + 4:
        data[at + 1 : at + 4] = b"\x82" + struct.pack(">H", width)
    else:
        return _NONE
    return f"{width} x {height}"


def _elsewhere(data: bytearray, dice: Random, bait: Bait) -> str:
    """Point an mp4's samples to another file: a data reference to the bait."""
    target = bait.target(dice).encode()
    path = [b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"]
    boxes = _walk(data, path)
    if boxes is None:
        return _NONE
    entry = _alias(target) if dice.random() < 0.7 else _url(target)
    start = boxes[-1]
    (old,) = struct.unpack_from(">I", data, start)
    reference = struct.pack(">I4sII", 16 + len(entry), b"dref", 0, 1) + entry
    data[start : start + old] = reference
    for box in boxes[:-1]:
        (size,) = struct.unpack_from(">I", data, box)
        struct.pack_into(">I", data, box, (size + len(reference) - old) % 2**32)
    return target.decode()


def _url(target: bytes) -> bytes:
    return struct.pack(">I4sI", 13 + len(target), b"url ", 0) + target + b"\0"


def _alias(target: bytes) -> bytes:
    """Return QuickTime's record of another file: 150 bytes, and its path as types 2 and 18."""
    name = target.rsplit(b"/", 1)[-1][:63]
    record = bytearray(150)
    record[50] = len(name)
    record[51 : 51 + len(name)] = name
    struct.pack_into(">hh", record, 130, 1, 1)  # levels from and to: the same folder
    padded = target + b"\0" * (len(target) % 2)
    paths = b"".join(struct.pack(">hh", kind, len(target)) + padded for kind in (2, 18)) + struct.pack(">hh", -1, 0)
    body = struct.pack(">I", 0) + bytes(record) + paths
    return struct.pack(">I4s", 8 + len(body), b"alis") + body


def _walk(data: bytearray, path: Sequence[bytes]) -> list[int] | None:
    """Return where the first box of this path and each of its parents begin; 32-bit sizes only."""
    found: list[int] = []
    at, end = 0, len(data)
    for name in path:
        while True:
            if at + 8 > end:
                return None
            (size,) = struct.unpack_from(">I", data, at)
            if size < 8:
                return None
            if data[at + 4 : at + 8] == name:
                break
            at += size
        found.append(at)
        at, end = at + 8, min(end, at + size)
    return found


def _chunk(data: bytearray, dice: Random) -> tuple[int, int]:
    if not data:
        return 0, 0
    start = dice.randrange(min(len(data), dice.choice((_HEAD, len(data)))))
    return start, min(len(data), start + dice.choice((1, 2, 4, 8, 16, 64, 256, 4096, 65536)))


def _find(data: bytearray, codes: Sequence[bytes], dice: Random) -> int | None:
    """Return a random position of one of the codes, or None."""
    for code in dice.sample(codes, len(codes)):
        places: list[int] = []
        at = data.find(code)
        while at >= 0 and len(places) < 16:
            places.append(at)
            at = data.find(code, at + 1)
        if places:
            return dice.choice(places)
    return None


def _shown(code: bytes) -> str:
    return code.decode("latin-1").encode("unicode_escape").decode()


_Change = Callable[[bytearray, Random, Bait], str]
_CHANGES: tuple[_Change, ...] = (
    _flip_bits, _flip_bits, _overwrite, _delete, _duplicate, _truncate, _number, _number, _address, _four_letters,
    _four_letters, _box_size, _box_size, _element_size, _count, _count, _sides, _sides, _elsewhere,
)  # fmt: skip
