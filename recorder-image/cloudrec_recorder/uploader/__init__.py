"""The sidecar: a recorder Pod's only client of the Kubernetes API and of the bucket.

`resource` watches the Pod's own CloudRecording and `taskfile` tells the recorder what changed; `tail` reads the
recorder's journal; `state` folds it with this sidecar's own log (`uploadlog`) into what has to be done and said;
`engine` does it, through `store` (`s3`); `report` says it, by server-side apply. A recorder that died has its journal
ended by `salvaging`.

Everything that must outlive a crash is in one of the two append-only files of the spool, so that a sidecar that was
killed anywhere goes on where it was: nothing is uploaded twice but what was not confirmed, no event is said twice.
"""
