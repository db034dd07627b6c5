"""Fuzzing of everything that reads what strangers wrote.

`targets` are the parsers and the whole receiver; `corpus/` beside this package holds inputs that are replayed by the
tests; `python -m tests.unit.capture.fuzz` mutates them, led by coverage, and adds what breaks something.
"""
