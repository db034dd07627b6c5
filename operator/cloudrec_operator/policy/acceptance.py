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
from cloudrec_contract.resources import (
    AppVod,
    BackupBucket,
    Bucket,
    CloudRecordingSpec,
    RecordingAppSpec,
    SecretRef,
    VodBucket,
    VodSpool,
)
from cloudrec_contract.storage import bucket_of, object_store
from cloudrec_operator import times
from cloudrec_operator.observed import Observed, SecretData

APP_KEYS = ("apiKey", "apiSecret")
BUCKET_KEYS = ("accessKey", "secretKey")
TENCENT_KEYS = ("secretId", "secretKey")
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
    """The backup store: the recording's own, else the app's. One for VOD has none of its own."""
    own = spec.storage.bucket.backup if spec.storage.bucket is not None else None
    return own or app.storage.backup


def bucket_or_none(spec: CloudRecordingSpec, app: RecordingAppSpec) -> Bucket | VodSpool | None:
    """Where segments go; None when it is the RecordingApp's to name, and it does not."""
    try:
        return bucket_of(spec, app)
    except ValueError:
        return None


def vod_of(spec: CloudRecordingSpec, app: RecordingAppSpec) -> AppVod | None:
    """What a recording for VOD goes by; None for any other."""
    return app.vod if spec.storage.vod is not None else None


def vod_keys(spec: CloudRecordingSpec, app: RecordingAppSpec) -> SecretRef | None:
    """The Secret of VOD's backend."""
    vod = vod_of(spec, app)
    backend = (vod.bucket or vod.tencent) if vod is not None else None
    return backend.credentials_secret_ref if backend is not None else None


def vod_key_names(vod: AppVod) -> tuple[str, ...]:
    """What that Secret has to hold."""
    return TENCENT_KEYS if vod.tencent is not None else BUCKET_KEYS


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
    if (bucket := spec.storage.bucket) is not None:
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


def store_keys_fault(
    seen: Observed, spec: CloudRecordingSpec, app: RecordingAppSpec, with_backup: bool = True
) -> Verdict | None:
    """What is wrong with the keys of the bucket, its backup or VOD's backend, if anything is."""
    vod = vod_of(spec, app)
    what = "the bucket's" if spec.storage.bucket is not None else "the VOD spool's"
    fault: Verdict | None = None
    if (bucket := bucket_or_none(spec, app)) is not None:
        name = bucket.credentials_secret_ref.name
        fault = _secret_fault(seen.bucket_secret, name, BUCKET_KEYS, f"{what} credentials")
    if fault is None and with_backup and (backup := backup_of(spec, app)) is not None:
        name = backup.credentials_secret_ref.name
        fault = _secret_fault(seen.backup_secret, name, BUCKET_KEYS, "the backup store's credentials")
    if fault is None and vod is not None and (ref := vod_keys(spec, app)) is not None:
        fault = _secret_fault(seen.vod_secret, ref.name, vod_key_names(vod), "the VOD credentials")
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


def examine_store(
    seen: Observed, spec: CloudRecordingSpec, app: RecordingAppSpec, with_backup: bool = True
) -> Verdict | None:
    """What is wrong with the address of the bucket, its backup or VOD, if anything is. The app may still be mended."""
    bucket, backup = bucket_or_none(spec, app), backup_of(spec, app) if with_backup else None
    if bucket is None:
        text = "has no spec.vod: add one, or give the recording a storage.bucket instead of storage.vod"
        return Verdict(Reason.APP_INVALID, f"RecordingApp {spec.app_ref.name} {text}")
    stores: list[tuple[str, Bucket | BackupBucket | VodBucket]] = [
        ("storage" if spec.storage.bucket is not None else "vod.spool", bucket)
    ]
    if backup is not None:
        stores.append(("backup storage", backup))
    vod = vod_of(spec, app)
    if vod is not None and vod.bucket is not None:
        stores.append(("vod.bucket", vod.bucket))
    urls = _vod_urls(vod)
    for what, named in stores:
        try:
            urls[f"{what} endpoint"] = object_store(named, app.storage, seen.recording.uid).endpoint
        except ValueError as error:
            return Verdict(Reason.ENDPOINT_UNKNOWN, str(error) if named is spec.storage.bucket else f"{what}: {error}")
    for what, url in urls.items():
        if fault := endpoint_fault(url):
            return Verdict(Reason.APP_INVALID, f"RecordingApp {spec.app_ref.name}: {what} {fault}")
    return None


def _vod_urls(vod: AppVod | None) -> dict[str, str]:
    """The addresses that VOD's backend is given with, by what they are."""
    found: dict[str, str | None] = {}
    if vod is not None and vod.bucket is not None:
        found["vod.bucket publicUrl"] = vod.bucket.public_url
    if vod is not None and vod.tencent is not None:
        found["vod.tencent endpoint"] = vod.tencent.endpoint
        found["vod.tencent uploadEndpoint"] = vod.tencent.upload_endpoint
    return {what: url for what, url in found.items() if url is not None}


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
