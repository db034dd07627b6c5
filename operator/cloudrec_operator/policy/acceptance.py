"""Whether a recording can begin: everything that it names is there and well-formed.

What is missing is waited for; only what no waiting can mend is final.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from cloudrec_contract.conditions import Reason
from cloudrec_contract.mix import outside
from cloudrec_contract.naming import room_fault
from cloudrec_contract.resources import BackupBucket, Bucket, CloudRecordingSpec, RecordingAppSpec
from cloudrec_contract.storage import object_store
from cloudrec_operator import times
from cloudrec_operator.observed import Observed, SecretData

APP_KEYS = ("apiKey", "apiSecret")
BUCKET_KEYS = ("accessKey", "secretKey")
CLIENT_SECONDS = 60.0
"""A client of the gateway has had its answer long before."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` is ACCEPTED (or what is noteworthy), or what is in the way; `final` when it will stay there."""

    reason: Reason
    message: str
    final: bool = False

    @property
    def accepted(self) -> bool:
        return self.reason in (Reason.ACCEPTED, Reason.USER_SIG_EXPIRES)


def backup_of(spec: CloudRecordingSpec, app: RecordingAppSpec) -> BackupBucket | None:
    """The backup store: the recording's own, else the app's."""
    return spec.storage.bucket.backup or app.storage.backup


def admit(seen: Observed) -> Verdict:
    """Whether it can begin, and its app may have one more task.

    One that is too many waits for its turn. For the gateway's nobody waits: one that is too many has failed, and so has
    one that was not accepted in time, whatever was in the way (its gateway may have died before it made the Secret).
    """
    recording = seen.recording
    verdict = examine(seen)
    if recording.by_gateway and seen.now >= recording.created + timedelta(seconds=CLIENT_SECONDS):
        why = "" if verdict.accepted else f" ({verdict.reason}: {verdict.message})"
        message = f"not accepted within {CLIENT_SECONDS:.0f} s: whoever asked for it waits no more{why}"
        return Verdict(Reason.START_TIMEOUT, message, final=True)
    if not verdict.accepted or seen.room_for_one or seen.app is None or seen.app.spec is None:
        return verdict
    limit = seen.app.spec.limits.max_concurrent_tasks
    message = f"{limit} tasks of the app are running, and its limits.maxConcurrentTasks allows no more"
    return Verdict(Reason.TOO_MANY_TASKS, message, final=recording.by_gateway)


def examine(seen: Observed) -> Verdict:
    """Look at the spec, the app and the Secrets that were observed, in this order."""
    spec = seen.recording.spec
    if spec is None:
        return Verdict(Reason.INVALID_SPEC, seen.recording.spec_error, final=True)
    if spec.mix is not None and (faults := outside(spec.mix)):
        return Verdict(Reason.INVALID_SPEC, f"mix.{faults[0]}", final=True)
    bucket = spec.storage.bucket
    own = {"": bucket.endpoint, "backup.": bucket.backup.endpoint if bucket.backup else None}
    for where, endpoint in own.items():
        if endpoint is not None and (fault := endpoint_fault(endpoint)):
            return Verdict(Reason.INVALID_SPEC, f"storage.bucket.{where}endpoint {fault}", final=True)
    if seen.app is None:
        return Verdict(Reason.APP_NOT_FOUND, f"RecordingApp {spec.app_ref.name} does not exist in this namespace")
    if seen.app.spec is None:
        return Verdict(Reason.APP_INVALID, f"RecordingApp {spec.app_ref.name} is not valid: {seen.app.error}")
    if fault := room_fault(seen.app.spec.sdk_app_id, spec.room.id, spec.room.type, spec.mode):
        return Verdict(Reason.INVALID_SPEC, f"room.id {fault}", final=True)
    return examine_store(seen, spec, seen.app.spec) or examine_secrets(seen, seen.app.spec) or _fine(seen, spec)


def _fine(seen: Observed, spec: CloudRecordingSpec) -> Verdict:
    expires = spec.robot.user_sig_expires_at
    if expires is not None and expires < seen.now + timedelta(seconds=spec.max_idle_seconds):
        message = f"the robot's UserSig ends at {times.render(expires)}, before the recording can (maxIdleSeconds)"
        return Verdict(Reason.USER_SIG_EXPIRES, message)
    return Verdict(Reason.ACCEPTED, f"RecordingApp {spec.app_ref.name} and all Secrets are there")


def examine_secrets(seen: Observed, app: RecordingAppSpec) -> Verdict | None:
    """What is wrong with the Secrets, if anything is."""
    spec = seen.recording.spec
    if spec is None:
        return None
    return app_keys_fault(seen, app) or store_keys_fault(seen, spec, app)


def store_keys_fault(seen: Observed, spec: CloudRecordingSpec, app: RecordingAppSpec) -> Verdict | None:
    """What is wrong with the keys of the bucket or its backup, if anything is."""
    bucket_secret = spec.storage.bucket.credentials_secret_ref.name
    fault = _secret_fault(seen.bucket_secret, bucket_secret, BUCKET_KEYS, "the bucket's credentials")
    backup = backup_of(spec, app)
    if fault is None and backup is not None:
        name = backup.credentials_secret_ref.name
        fault = _secret_fault(seen.backup_secret, name, BUCKET_KEYS, "the backup store's credentials")
    return fault


def app_keys_fault(seen: Observed, app: RecordingAppSpec) -> Verdict | None:
    """What is wrong with the app's key pair, if anything is."""
    return _secret_fault(
        seen.app_secret, app.room.livekit.api_key_secret_ref.name, APP_KEYS, "the LiveKit keys of the RecordingApp"
    )


def _secret_fault(secret: SecretData | None, name: str, keys: Sequence[str], what: str) -> Verdict | None:
    if secret is None or secret.values is None:
        return Verdict(Reason.SECRET_NOT_FOUND, f"Secret {name} with {what} does not exist in this namespace")
    values = secret.values
    missing = [key for key in keys if key not in values or not values[key].reveal().strip()]
    if missing:
        return Verdict(Reason.SECRET_INVALID, f"Secret {name} with {what} lacks {' and '.join(missing)}")
    return None


def examine_store(seen: Observed, spec: CloudRecordingSpec, app: RecordingAppSpec) -> Verdict | None:
    """What is wrong with the address of the bucket or its backup, if anything is. The app may still be mended."""
    backup = backup_of(spec, app)
    stores: list[tuple[str, Bucket | BackupBucket]] = [("storage", spec.storage.bucket)]
    if backup is not None:
        stores.append(("backup storage", backup))
    for what, bucket in stores:
        try:
            store = object_store(bucket, app.storage, seen.recording.uid)
        except ValueError as error:
            return Verdict(Reason.ENDPOINT_UNKNOWN, str(error))
        if fault := endpoint_fault(store.endpoint):
            return Verdict(Reason.APP_INVALID, f"RecordingApp {spec.app_ref.name}: {what} endpoint {fault}")
    return None


def endpoint_fault(endpoint: str) -> str:
    """What is wrong with a store's URL that the API server's pattern cannot see; never repeats what may be a secret."""
    try:
        parts = urlsplit(endpoint)
        if parts.username or parts.password or parts.query or parts.fragment:
            return "is http(s)://host[:port], without user, query or fragment"
        if not parts.hostname or parts.port == 0:
            return "has no host or no valid port"
    except ValueError as error:
        return f"is not a URL: {error}"
    return ""
