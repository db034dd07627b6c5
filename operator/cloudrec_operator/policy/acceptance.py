"""Whether a recording can begin: everything that it names is there and well-formed.

What is missing is waited for; only what no waiting can mend is final.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from cloudrec_contract.conditions import Reason
from cloudrec_contract.naming import room_fault
from cloudrec_contract.resources import BackupBucket, Bucket, CloudRecordingSpec, RecordingAppSpec
from cloudrec_contract.storage import object_store
from cloudrec_operator.observed import Observed, SecretData

APP_KEYS = ("apiKey", "apiSecret")
BUCKET_KEYS = ("accessKey", "secretKey")


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` is ACCEPTED, or what is in the way; `final` when it will stay in the way."""

    reason: Reason
    message: str
    final: bool = False

    @property
    def accepted(self) -> bool:
        return self.reason is Reason.ACCEPTED


def backup_of(spec: CloudRecordingSpec, app: RecordingAppSpec) -> BackupBucket | None:
    """The backup store: the recording's own, else the app's."""
    return spec.storage.bucket.backup or app.storage.backup


def examine(seen: Observed) -> Verdict:
    """Look at the spec, the app and the Secrets that were observed, in this order."""
    spec = seen.recording.spec
    if spec is None:
        return Verdict(Reason.INVALID_SPEC, seen.recording.spec_error, final=True)
    bucket = spec.storage.bucket
    own = {"": bucket.endpoint, "backup.": bucket.backup.endpoint if bucket.backup else None}
    for where, endpoint in own.items():
        if endpoint is not None and (fault := endpoint_fault(endpoint)):
            return Verdict(Reason.INVALID_SPEC, f"storage.bucket.{where}endpoint {fault}", final=True)
    if seen.app is None:
        return Verdict(Reason.APP_NOT_FOUND, f"RecordingApp {spec.app_ref.name} does not exist in this namespace")
    if seen.app.spec is None:
        return Verdict(Reason.APP_INVALID, f"RecordingApp {spec.app_ref.name} is not valid: {seen.app.error}")
    if fault := room_fault(seen.app.spec.sdk_app_id, spec.room.id, spec.room.type):
        return Verdict(Reason.INVALID_SPEC, f"room.id {fault}", final=True)
    fine = Verdict(Reason.ACCEPTED, f"RecordingApp {spec.app_ref.name} and all Secrets are there")
    return examine_store(seen, spec, seen.app.spec) or examine_secrets(seen, seen.app.spec) or fine


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
