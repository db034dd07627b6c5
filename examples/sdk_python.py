"""Record a room with Tencent Cloud's own SDK: only the endpoint is another than in the cloud.

    pip install tencentcloud-sdk-python-trtc==3.1.177
    eval "$(cloudrec status --env)"            # endpoint, SecretId and SecretKey of the embedded stack
    python examples/sdk_python.py demo         # records the room "demo" for 20 s; `cloudrec publish` puts users into it
    python examples/sdk_python.py demo --mixed # one picture and one sound of the whole room
    python examples/sdk_python.py demo --mp4   # MP4 files, too: made after the end, named by event 310

Everything comes from the environment: CLOUDREC_ENDPOINT (host:port), CLOUDREC_SECRET_ID, CLOUDREC_SECRET_KEY,
CLOUDREC_SDK_APP_ID; where the files go from CLOUDREC_BUCKET, CLOUDREC_REGION, CLOUDREC_ACCESS_KEY,
CLOUDREC_ACCESS_SECRET.
"""

# ruff: noqa: T201 - it talks to whoever runs it

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.trtc.v20190722 import models
from tencentcloud.trtc.v20190722.trtc_client import TrtcClient

RETRY_PAUSES = (3, 6, 12)
"""Seconds between tries after an InternalError, as the recording guide advises."""

LANDSCAPE = {
    "MixTranscodeParams": {
        "VideoParams": {"Width": 1280, "Height": 720, "Fps": 15, "BitRate": 1_500_000, "Gop": 10},
    },
}
"""A mixed recording's picture; left out, it is upright: 360 x 640."""

HLS, HLS_AND_MP4 = 0, 1
"""OutputFormat; 2 is HLS and AAC, 3 MP4 alone, 4 AAC alone."""

T = TypeVar("T")


def retried(call: Callable[[], T]) -> T:
    """`call`, and again after each InternalError. Any other error is the request's own: another try would not help."""
    for pause in RETRY_PAUSES:
        try:
            return call()
        except TencentCloudSDKException as error:
            if not str(error.get_code()).startswith("InternalError"):
                raise
            print(f"{error.get_code()}: again in {pause} s", file=sys.stderr)
            time.sleep(pause)
    return call()


class Recorder:
    """The four actions of the recording API for one application."""

    def __init__(self, endpoint: str, secret_id: str, secret_key: str, sdk_app_id: int) -> None:
        http = HttpProfile(protocol="http", endpoint=endpoint, reqTimeout=10)
        credential = Credential(secret_id, secret_key)
        self._client = TrtcClient(credential, "ap-guangzhou", ClientProfile(httpProfile=http))
        self._sdk_app_id = sdk_app_id

    def create(
        self,
        room: str,
        robot: str,
        user_sig: str,
        storage: dict[str, Any],
        mix: dict[str, Any] | None = None,
        output_format: int = HLS,
    ) -> str:
        """Start recording the string room `room`; the TaskId.

        Every user apart, or with `mix` (MixTranscodeParams, MixLayoutParams; {} will do) in one picture.
        """
        record = {"RecordMode": 1 if mix is None else 2, "MaxIdleTime": 60, "StreamType": 0}
        return str(
            self._call(
                "CreateCloudRecording",
                RoomId=room,
                RoomIdType=0,
                UserId=robot,
                UserSig=user_sig,
                RecordParams={**record, "OutputFormat": output_format},
                StorageParams={"CloudStorage": storage},
                **(mix or {}),
            ).TaskId
        )

    def describe(self, task_id: str) -> Any:
        return self._call("DescribeCloudRecording", TaskId=task_id)

    def modify(self, task_id: str, subscribe: dict[str, list[str]], layout: dict[str, Any] | None = None) -> None:
        """Replaces whose streams are recorded, and a mixed recording's layout (MixLayoutParams); what is left out is
        everybody's and the grid's again."""
        changes = {"MixLayoutParams": layout} if layout else {}
        self._call("ModifyCloudRecording", TaskId=task_id, SubscribeStreamUserIds=subscribe, **changes)

    def delete(self, task_id: str) -> None:
        self._call("DeleteCloudRecording", TaskId=task_id)

    def _call(self, action: str, **parameters: Any) -> Any:
        request = getattr(models, f"{action}Request")()
        request.from_json_string(json.dumps({"SdkAppId": self._sdk_app_id, **parameters}))
        return retried(lambda: getattr(self._client, action)(request))


def record(
    recorder: Recorder, room: str, storage: dict[str, Any], seconds: float, *, mixed: bool = False, mp4: bool = False
) -> list[Any]:
    """Record for so long from the first media on; the playlists."""
    # The UserSig is made by the app's server (tls-sig-api-v2); without spec.userSig the RecordingApp takes any.
    user_sig = os.environ.get("CLOUDREC_USER_SIG", "unsigned")
    output_format = HLS_AND_MP4 if mp4 else HLS
    task_id = recorder.create(room, "recorder-1", user_sig, storage, LANDSCAPE if mixed else None, output_format)
    print(f"TaskId {task_id}")
    try:
        deadline = time.monotonic() + 60
        while (told := recorder.describe(task_id)).Status != "InProgress":
            if time.monotonic() > deadline:
                raise SystemExit(f"nobody published into the room {room!r} within 60 s (Status {told.Status})")
            time.sleep(0.5)
        print(f"recording for {seconds:g} s")
        time.sleep(seconds)
        return list(recorder.describe(task_id).StorageFileList)
    finally:
        recorder.delete(task_id)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("room", nargs="?", default="demo")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--mixed", action="store_true", help="one composed recording instead of one for each user")
    parser.add_argument("--mp4", action="store_true", help="MP4 files beside HLS, once the recording has ended")
    arguments = parser.parse_args()
    env = os.environ
    try:
        recorder = Recorder(
            env["CLOUDREC_ENDPOINT"],
            env["CLOUDREC_SECRET_ID"],
            env["CLOUDREC_SECRET_KEY"],
            int(env.get("CLOUDREC_SDK_APP_ID", "1400000001")),
        )
        storage = {
            "Vendor": 1,  # AWS or, by the RecordingApp's storage.endpoints, any other S3-compatible store
            "Region": env.get("CLOUDREC_REGION", "local"),
            "Bucket": env.get("CLOUDREC_BUCKET", "recordings"),
            "AccessKey": env["CLOUDREC_ACCESS_KEY"],
            "SecretKey": env["CLOUDREC_ACCESS_SECRET"],
            "FileNamePrefix": ["sdk"],
        }
    except KeyError as missing:
        parser.error(f"{missing.args[0]} is not set; see --help")
    files = record(recorder, arguments.room, storage, arguments.seconds, mixed=arguments.mixed, mp4=arguments.mp4)
    for file in files:
        print(f"{file.UserId:12} {file.TrackType:12} {file.BeginTimeStamp}  {file.FileName}")
    if arguments.mp4:
        print("the MP4 files are being made; event 310 names them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
