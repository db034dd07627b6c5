"""An S3 server (SeaweedFS) that gives temporary keys with a session token, as VOD does for its uploads."""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from cloudrec_local.components.bucket import bucket, leftovers
from cloudrec_local.home import Home, tool
from cloudrec_local.state import StackState, new_state

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "vod-1250000000"
ROLE = "arn:aws:iam::role/uploading"
STARTING_SECONDS = 60


def _roles() -> dict[str, Any]:
    """One role, that may put and nothing else."""
    version = {"Version": "2012-10-17"}
    anybody = {"Effect": "Allow", "Principal": "*", "Action": ["sts:AssumeRole"]}
    putting = {"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": ["arn:aws:s3:::*"]}
    key = "a2V5IG9mIGEgdGVzdCwgb2Ygbm8gdXNlIGVsc2V3aGVyZQ=="
    return {
        "sts": {"tokenDuration": "1h", "maxSessionLength": "12h", "issuer": "seaweedfs-sts", "signingKey": key},
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "roles": [
            {
                "roleName": "uploading",
                "roleArn": ROLE,
                "trustPolicy": {**version, "Statement": [anybody]},
                "attachedPolicies": ["putting"],
            }
        ],
        "policies": [{"name": "putting", "document": {**version, "Statement": [putting]}}],
    }


def _identity(name: str, actions: list[str]) -> dict[str, Any]:
    return {"name": name, "credentials": [{"accessKey": name, "secretKey": name}], "actions": actions}


@dataclass(frozen=True)
class Temporary:
    state: StackState

    @property
    def endpoint(self) -> str:
        return f"http://{self.state.address}:{self.state.ports['s3']}"

    def _of(self, service: str) -> Any:
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.state.s3_access_key,
            aws_secret_access_key=self.state.s3_secret_key.get_secret_value(),
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 3}),
        )

    @property
    def client(self) -> "S3Client":
        made: S3Client = self._of("s3")
        return made

    def certificate(self) -> dict[str, Any]:
        """Good for 15 minutes, to put objects only; as ApplyUpload gives it."""
        said = self._of("sts").assume_role(RoleArn=ROLE, RoleSessionName="upload", DurationSeconds=900)["Credentials"]
        return {
            "SecretId": said["AccessKeyId"],
            "SecretKey": said["SecretAccessKey"],
            "Token": said["SessionToken"],
            "ExpiredTime": int(said["Expiration"].timestamp()),
        }


@contextmanager
def running(folder: Path, keys: Mapping[str, list[str]] | None = None) -> Iterator[Temporary]:
    """`keys`: further keys, which are secret and access key in one, with SeaweedFS' actions."""
    state = new_state("vod", "0", ["bucket"], {})
    home = Home(folder)
    part = bucket(state, home, tool("weed"))
    for file, content in part.files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        known = json.loads(content)
        known["identities"] += [_identity(name, actions) for name, actions in (keys or {}).items()]
        file.write_text(json.dumps(known))
    roles = folder / "roles.json"
    roles.write_text(json.dumps(_roles()))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*part.argv, f"-s3.iam.config={roles}"], cwd=folder, env={**part.env}, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + STARTING_SECONDS
        while not part.ready():
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            time.sleep(0.1)
        temporary = Temporary(state)
        temporary.client.create_bucket(Bucket=BUCKET)
        yield temporary
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        for socket in leftovers(state):
            socket.unlink(missing_ok=True)
