"""From the wire to access units on one time line: ICE sockets, SRTP, RTP, RTCP, depacketizing, clocks.

Layers, lowest first; each knows only those before it:
`clock` · `rtp` · `frames`/`depacketize` · `timeline` · `sdp` · `output` · `track` · `receiver` ·
`datagrams` · `ice` · `peer`.
"""
