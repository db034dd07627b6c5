"""A long recording of a restless room on a whole stack: does anything grow? `python -m tests.soak --minutes 30`."""
