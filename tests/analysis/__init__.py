"""The recording analyser: what synthetic users really published, compared with what was recorded of it.

`files` finds and decodes playlists; `content` compares; `structure` looks at joints, dates and durations; `ffprobe`
asks an independent player. Each function returns what it measured: how much is too much is for the test to say.
"""
