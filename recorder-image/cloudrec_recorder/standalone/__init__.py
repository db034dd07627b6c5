"""A recording without a cluster: a task file in, playlists and segments in a folder out, and a live view meanwhile.

The same recorder as in a Pod writes into a spool inside the folder, and the sidecar's engine puts what is closed beside
it: the folder is the bucket (`folder`). `taskfile` and `tokens` take the operator's place, `board` and `view` the
status'.
"""
