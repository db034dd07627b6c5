"""From encoded access units to MPEG-TS segments on the spool."""
