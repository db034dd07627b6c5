"""What TRTC's events 310, 311 and 312 say of the files. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from cloudrec_contract.events import EventType, args
from cloudrec_contract.finish import Output, StoredFile

ARGUMENTS_MAX: Final = 64 << 10
"""Bytes of an event's arguments as JSON, above which FileMessage is left out."""
ERROR_MAX: Final = 512
STORED, NOT_STORED, FAILED = 0, 1, 2
"""Of 310 and 311: all is well; something is not where it should be; an error."""


def mp4_stop(outputs: Iterable[Output], status: int) -> dict[str, Any]:
    """310."""
    files = [(output, file) for output in outputs for file in output.files]
    names = [file.name for _, file in files]
    messages = [
        {
            "FileName": file.name,
            "UserId": output.user_id,
            "TrackType": output.kind,
            "MediaId": output.media,
            "StartTimeStamp": file.start,
            "EndTimeStamp": file.end,
        }
        for output, file in files
    ]
    told = args(EventType.MP4_STOP, Status=status, FileList=names, FileMessage=messages)
    if len(json.dumps(told)) <= ARGUMENTS_MAX:
        return told
    return args(EventType.MP4_STOP, Status=status, FileList=names)


def committed(output: Output, file: StoredFile) -> dict[str, Any]:
    """311 of a file that VOD has."""
    return args(
        EventType.VOD_COMMIT,
        Status=STORED,
        TencentVod={
            "UserId": output.user_id,
            "TrackType": output.kind,
            "MediaId": output.media,
            "FileId": file.file_id,
            "VideoUrl": file.url,
            "CacheFile": file.name,
            "StartTimeStamp": file.start,
            "EndTimeStamp": file.end,
        },
    )


def not_committed(output: Output, name: str, status: int, why: str) -> dict[str, Any]:
    """311 of a file that VOD has not, or that could not be made."""
    return args(
        EventType.VOD_COMMIT,
        Status=status,
        Errmsg=why[:ERROR_MAX],
        TencentVod={
            "UserId": output.user_id,
            "TrackType": output.kind,
            "MediaId": output.media,
            "CacheFile": name,
        },
    )


def vod_stop(status: int) -> dict[str, Any]:
    """312."""
    return args(EventType.VOD_STOP, Status=status)
