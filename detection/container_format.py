"""Recognise a container format by its first bytes ("sniffing"); names and claimed media types are ignored.

Only containers that the workers can open are listed.  Everything else is refused at upload: playlists and scripts that
make a decoder read other files, archives, programs, web pages, still pictures.  A match does not promise that the file
can be decoded; a worker finds that out.
"""

from __future__ import annotations

from dataclasses import dataclass

HEAD_BYTES = 4096
"""Enough for every signature here."""
STILL_CHECK_BYTES = 1024 * 1024
"""How far a GIF or PNG is read to see whether it moves; undecided by then counts as moving."""


@dataclass(frozen=True)
class FileKind:
    """A container: its stored suffix and its media type."""

    suffix: str
    media_type: str


MP4 = FileKind(".mp4", "video/mp4")
QUICKTIME = FileKind(".mov", "video/quicktime")
THREE_GP = FileKind(".3gp", "video/3gpp")
MATROSKA = FileKind(".mkv", "video/x-matroska")
WEBM = FileKind(".webm", "video/webm")
AVI = FileKind(".avi", "video/x-msvideo")
MPEG = FileKind(".mpg", "video/mpeg")
MPEG_TS = FileKind(".ts", "video/mp2t")
FLV = FileKind(".flv", "video/x-flv")
ASF = FileKind(".wmv", "video/x-ms-wmv")
OGG = FileKind(".ogv", "video/ogg")
MXF = FileKind(".mxf", "application/mxf")
IVF = FileKind(".ivf", "application/octet-stream")
DV = FileKind(".dv", "video/x-dv")
H264 = FileKind(".h264", "application/octet-stream")
H265 = FileKind(".h265", "application/octet-stream")
MPEG4_STREAM = FileKind(".m4v", "application/octet-stream")
GIF = FileKind(".gif", "image/gif")
APNG = FileKind(".apng", "image/apng")

ALL_KINDS = (
    MP4, QUICKTIME, THREE_GP, MATROSKA, WEBM, AVI, MPEG, MPEG_TS, FLV, ASF, OGG, MXF, IVF, DV, H264, H265,
    MPEG4_STREAM, GIF, APNG,
)  # fmt: skip

# ISO base media files that hold one picture: HEIF, AVIF, JPEG 2000, Canon raw.
_STILL_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2", b"avif", b"jp2 ", b"jpx ", b"crx "})
# QuickTime files older than the `ftyp` box start with one of these boxes.
_QUICKTIME_BOXES = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
_PNG = b"\x89PNG\r\n\x1a\n"
_STARTS: tuple[tuple[bytes, FileKind], ...] = (
    (b"FLV\x01", FLV),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", ASF),
    (b"OggS", OGG),
    (b"\x06\x0e\x2b\x34\x02\x05\x01\x01", MXF),
    (b"DKIF\x00\x00", IVF),
    (b"\x1f\x07\x00", DV),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"\x00\x00\x01\xba", MPEG),
    (b"\x00\x00\x01\xb3", MPEG),
    (b"\x00\x00\x01\xb0", MPEG4_STREAM),
)


def sniff(head: bytes) -> FileKind | None:
    """Return the container that starts with `head` (the file's first HEAD_BYTES), or None."""
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head[4:8] == b"ftyp":
        return _iso_media(head[8:12])
    if head[4:8] in _QUICKTIME_BOXES:
        return QUICKTIME
    if head.startswith(b"\x1aE\xdf\xa3"):
        return WEBM if b"\x42\x82\x84webm" in head[:64] else MATROSKA
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return AVI
    if head.startswith(_PNG):
        return APNG
    if _is_transport_stream(head):
        return MPEG_TS
    return _annex_b(head)


def is_still_picture(start: bytes) -> bool:
    """Return whether a GIF or APNG holds a single picture.

    `start` is the file's first STILL_CHECK_BYTES; False if they end before that is decided.
    """
    if start.startswith(_PNG):
        return _png_is_still(start)
    if start.startswith((b"GIF87a", b"GIF89a")):
        return _gif_is_still(start)
    return False


def _iso_media(brand: bytes) -> FileKind | None:
    if brand in _STILL_BRANDS:
        return None
    if brand == b"qt  ":
        return QUICKTIME
    return THREE_GP if brand.startswith((b"3gp", b"3g2")) else MP4


def _is_transport_stream(head: bytes) -> bool:
    """Return whether sync bytes stand at packet distance.

    That is 188, or 192 with a time code before each packet (Blu-ray, AVCHD).
    """
    return b"\x47\x47\x47" in (head[0 : 2 * 188 + 1 : 188], head[4 : 4 + 2 * 192 + 1 : 192])


def _annex_b(head: bytes) -> FileKind | None:
    """Recognise a raw H.264 or H.265 stream: a start code and a NAL unit that may come first."""
    unit = head[4:] if head.startswith(b"\x00\x00\x00\x01") else head[3:] if head.startswith(b"\x00\x00\x01") else b""
    if len(unit) < 2:
        return None
    if unit[:2] in (b"\x40\x01", b"\x46\x01"):  # parameter set, access unit delimiter
        return H265
    # Not the start code of three bytes alone: that would also be an icon file (00 00 01 00).
    return H264 if unit[0] & 0x9F in (0x07, 0x09, 0x06) else None


def _png_is_still(data: bytes) -> bool:
    """Return whether no `acTL` chunk comes before the first `IDAT`."""
    at = len(_PNG)
    while at + 8 <= len(data):
        length, chunk = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if chunk == b"acTL":
            return False
        if chunk in (b"IDAT", b"IEND"):
            return True
        at += 12 + length
    return len(data) < STILL_CHECK_BYTES


def _gif_is_still(data: bytes) -> bool:
    """Return whether there are fewer than two image blocks."""
    if len(data) < 13:
        return True
    at = 13 + _color_table_bytes(data[10])
    pictures = 0
    while at < len(data):
        block = data[at]
        if block == 0x21:  # extension: its label, then sub-blocks
            at = _after_sub_blocks(data, at + 2)
        elif block == 0x2C:  # image: its descriptor, perhaps a colour table, the code size, then sub-blocks
            pictures += 1
            if pictures == 2:
                return False
            if at + 10 > len(data):
                break
            at = _after_sub_blocks(data, at + 11 + _color_table_bytes(data[at + 9]))
        else:  # the trailer, or garbage
            return True
    return len(data) < STILL_CHECK_BYTES


def _color_table_bytes(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _after_sub_blocks(data: bytes, at: int) -> int:
    while at < len(data) and data[at]:
        at += data[at] + 1
    return at + 1
