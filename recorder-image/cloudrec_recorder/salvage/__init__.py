"""A dead recorder's last words, said for it: its open segments are repaired and the journal gets its end.

`python -m cloudrec_recorder.salvage SPOOL`, run by the sidecar once the recorder's container has ended without an `end`
record. `transport` reads what is whole of a cut-off transport stream (pure); `repair` makes the file that; `sources`
and `held` make segments of frames that capture had not let out yet; `spool` goes over all of them and writes the
journal. It may be killed at any moment and run again: what it makes of a repaired file is that file.
"""
