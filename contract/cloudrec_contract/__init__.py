"""What every part of Cloudrec agrees on: resources, names, playlists, events and the spool. Pure: no I/O, no clock."""

__version__ = "0.1.0"
