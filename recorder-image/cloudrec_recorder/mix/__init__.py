"""Mixed mode: one picture and one sound of the whole room.

The recorder captures; a process of its own composes (`python -m cloudrec_recorder.mix`). They talk over its standard
input and output (`wire`): encoded access units and the scene go in, H.264 and AAC come out, and the recorder writes the
segments. The composer has no clock: it is told the time, so the same input always makes the same output.
"""
