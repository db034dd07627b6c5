"""The finisher: after a recording's end, brings what only the backup store has into the bucket.

A Pod of the operator's runs it, with both stores' keys and the sidecar's right to report. It keeps no notes of its own:
what is to be done follows from what the two stores hold, so that it can be killed and begun again at any time.
"""
