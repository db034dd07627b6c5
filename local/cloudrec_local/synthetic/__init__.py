"""Synthetic users: a picture and a sound that tell whose they are and when they were captured, in a real room.

`code` is the strip that a picture carries, `picture` and `sound` make what is published, `plan` says who does what
and when, `user` and `session` do it by LiveKit's SDK, `truth` is what was really done, `process` runs it all in a
process of its own. Nothing is imported here, so that reading a code needs no SDK.
"""
