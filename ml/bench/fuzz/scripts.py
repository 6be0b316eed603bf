"""Files that pose as video and make a decoder open something else.

They name bait: an address and two files that nothing touches unless a decoder obeys.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random

FTYP = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2mp41"


@dataclass(frozen=True)
class Bait:
    """What scripts name.  The files also lie beside the mutants, as some scripts can name neighbours only."""

    port: int
    """Port of 127.0.0.1, TCP and UDP."""
    video: Path
    text: Path

    def target(self, dice: Random) -> str:
        """Return one way of naming it; half of the time one that is obeyed most easily."""
        easy = (self.video.name, str(self.video), f"http://127.0.0.1:{self.port}/a.ts")
        return dice.choice(easy if dice.random() < 0.5 else self.targets())

    def targets(self) -> tuple[str, ...]:
        """Return every way of naming the bait for which FFmpeg has a protocol."""
        host = f"127.0.0.1:{self.port}"
        return (
            self.video.name,
            self.text.name,
            f"./{self.video.name}",
            str(self.video),
            str(self.text),
            f"file:{self.video}",
            f"file://{self.text}",
            f"http://{host}/a.ts",
            f"https://{host}/a.mp4",
            f"tcp://{host}",
            f"udp://{host}",
            f"rtp://{host}",
            f"rtsp://{host}/a",
            f"rtmp://{host}/a/b",
            f"ftp://{host}/a.mp4",
            f"httpproxy://{host}/a",
            f"tls://{host}",
            f"srt://{host}",
            f"mmsh://{host}/a",
            f"concat:{self.video}|{self.text}",
            f"concatf:{self.text}",
            f"subfile,,start,0,end,99,,:{self.video}",
            f"crypto+http://{host}/a.ts",
            f"async:file:{self.video}",
            f"cache:{self.video}",
            f"tee:{self.video}",
            f"unix:{self.text}",
            f"pipe:{self.text}",
            "data:text/plain;base64,I0VYVE0zVQ==",
        )


_SCRIPTS: dict[str, str] = {
    "hls": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{a}\n#EXTINF:1,\n{b}\n#EXT-X-ENDLIST\n",
    "hls master": '#EXTM3U\n#EXT-X-MEDIA:TYPE=VIDEO,GROUP-ID="v",NAME="x",URI="{b}"\n'
    '#EXT-X-STREAM-INF:BANDWIDTH=1,VIDEO="v"\n{a}\n',
    "hls key": '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{a}",IV=0x00\n'
    '#EXT-X-MAP:URI="{b}"\n#EXTINF:1,\n{a}\n#EXT-X-ENDLIST\n',
    "ffconcat": "ffconcat version 1.0\nfile '{a}'\nduration 1\nfile '{b}'\n",
    "ffconcat unsafe": "ffconcat version 1.0\noption safe 0\n"
    "option protocol_whitelist file,http,tcp,udp,data\nfile {a}\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\na=control:{a}\nm=video {port} RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\na=control:{b}\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'profiles="urn:mpeg:dash:profile:isoff-main:2011" mediaPresentationDuration="PT1S"><Period><AdaptationSet '
    'mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{a}</BaseURL><SegmentList duration="1">'
    '<Initialization sourceURL="{b}"/>'
    '<SegmentURL media="{a}"/></SegmentList></Representation></AdaptationSet></Period></MPD>',
    "imf": '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"><Id>{a}</Id>'
    "</CompositionPlaylist><AssetMap><Path>{b}</Path></AssetMap>",
    "asx": '<asx version="3.0"><entry><ref href="{a}"/></entry></asx>\n[Reference]\nRef1={b}\n',
    "smil": '<smil><body><video src="{a}"/><ref src="{b}"/></body></smil>',
    "xspf": '<playlist version="1"><trackList><track><location>{a}</location></track></trackList></playlist>',
    "pls": "[playlist]\nFile1={a}\nFile2={b}\nNumberOfEntries=2\n",
    "avisynth": 'FFVideoSource("{a}")\nImport("{b}")\n',
    "vapoursynth": "import vapoursynth as vs\nopen('{a}')\nvs.core.ffms2.Source('{b}').set_output()\n",
    "vobsub": "# VobSub index file, v7\nsize: 720x480\nid: en, index: 0\n"
    "timestamp: 00:00:00:000, filepos: 000000000\n# {a}\n",
    "metadata": ";FFMETADATA1\ntitle={a}\n[CHAPTER]\nSTART=0\nEND=1\ntitle={b}\n",
    "lavfi": "movie={a}[out0];amovie={b}[out1]\n",
    "svg": '<svg xmlns="http://www.w3.org/2000/svg" xmlns:x="http://www.w3.org/1999/xlink"><image x:href="{a}"/></svg>',
    "mms": "RTSPtext\r\nrtsp://{a}\r\n",
    "redir": '<?xml version="1.0"?>\n<?quicktime type="application/x-quicktime-media-link"?>\n<embed src="{a}"/>\n',
    "address": "{a}\n",
}  # fmt: skip
NAMES = tuple(sorted(_SCRIPTS))


def script(name: str, bait: Bait, dice: Random) -> bytes:
    """Return the script of this name, filled with bait."""
    a, b = bait.target(dice), bait.target(dice)
    return _SCRIPTS[name].format(a=a, b=b, port=bait.port).encode()


def posing(text: bytes, seed: bytes, dice: Random) -> tuple[bytes, str]:
    """Return the script, alone or with a video around it, and where it stands."""
    match dice.randrange(6):
        case 0:
            return FTYP + text, "after ftyp"
        case 1:
            return text + seed, "before the video"
        case 2:
            at = dice.randrange(len(seed) + 1)
            return seed[:at] + text + seed[at:], f"at {at}"
        case 3:
            return seed[:188] + text * 20, "after the head"
        case _:
            return text, "alone"
