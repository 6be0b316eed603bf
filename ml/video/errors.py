"""Errors of video files."""

from __future__ import annotations

from av.error import FFmpegError

from ml.resource_limits import memory_is_short


class VideoError(Exception):
    """The file is no video that can be judged: a result, never a reason to try again.

    `code` is one of empty_file, not_a_video, no_video_stream, corrupt_video, resolution_too_large, video_too_long.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def reraise_out_of_memory(error: Exception) -> None:
    """Raises MemoryError in place of any error of FFmpeg's while there is hardly any memory left.

    It can say "invalid data" when it got no memory for a sound picture, and "no memory" of a size that a damaged file
    makes up, which is damage like any other: only what is left tells them apart.
    """
    if isinstance(error, FFmpegError) and memory_is_short():
        raise MemoryError(str(error)) from error
