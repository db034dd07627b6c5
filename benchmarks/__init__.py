"""The project's figures, measured beside somebody else's work on the same data in the same run.

`python -m benchmarks` runs all of them, `python -m benchmarks.capture` one; each prints one JSON line last. Figures are
CPU seconds of processes: wall time says nothing on a busy machine. Even so only ratios are to be trusted.
"""
