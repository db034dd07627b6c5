"""What the operator decides, one policy a file. Pure: no I/O, no clock of its own."""
