"""From an HTTP request to a call whose caller is known, and from an answer to bytes. No I/O, no clock of its own."""
