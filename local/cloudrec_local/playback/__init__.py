"""A recording looked at from outside, as a player would: playlists, transport stream, pictures, sound.

Nothing here is shared with what writes recordings, so that an error in the one is not repeated in the other.
"""
