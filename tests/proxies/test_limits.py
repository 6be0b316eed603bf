"""The proxies' sizes and times are those that the program itself needs."""

from __future__ import annotations

import re

from django.conf import settings

from detection.api.uploadhandler import FORM_OVERHEAD_BYTES
from detection.api.waiting import IDLE_S, LONGEST_WAIT_S
from tests.proxies.servers import CONFIGURATIONS

MIB = 1024 * 1024


def found(name: str, pattern: str) -> list[int]:
    return [int(number) for number in re.findall(pattern, (CONFIGURATIONS / name).read_text(), re.M)]


def test_the_program_says_itself_what_is_too_large() -> None:
    needed = settings.DFD_MAX_UPLOAD_BYTES + FORM_OVERHEAD_BYTES
    others, uploads = found("nginx.conf", r"^ +client_max_body_size (\d+)m;")
    (whole,) = found("Caddyfile", r"^\t+max_size (\d+)MiB$")
    assert needed < uploads * MIB < needed + 5 * MIB
    assert whole == uploads
    assert others * MIB > settings.DATA_UPLOAD_MAX_MEMORY_SIZE


def test_nobody_who_may_wait_is_cut_off() -> None:
    others, uploads = found("nginx.conf", r"^ +proxy_read_timeout (\d+)s;")
    (whole,) = found("Caddyfile", r"response_header_timeout (\d+)s")
    assert LONGEST_WAIT_S < others <= uploads == whole
    assert others > IDLE_S * 3
