"""The finisher: after a recording's end, brings what only the backup store has into the bucket, and makes MP4 and AAC.

A Pod of the operator's runs it, with the stores' keys and the sidecar's right to report. What is to be done follows
from what the stores hold, a ledger among it, so that it can be killed and begun again at any time.

drain, merging, drainwork     first stage: the backup store's files; passes until it is empty
convertwork, board            second stage, and what is told of it
converting, making, wanted    which outputs, one after the other, each for itself
shelving, book                into the bucket or to VOD; the ledger
removing, verdict, facts      the end: HLS that nobody wanted, the result, events 310 to 312
patience                      stores that fail are asked again
"""
