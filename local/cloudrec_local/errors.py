"""What goes wrong in the embedded stack and is told to its user.

    StackError                 something the user can act on: message and, where known, the command that helps
    ├── MissingToolError       a program that is needed is not there; `hint` is the command that gets it
    ├── BuildError             a Go build failed; the message ends with the log's tail and path
    └── ComponentError         a part of the stack died early or was not ready in time; ends with its log's tail

The CLI prints `message` and `hint` and exits 1; every other exception is a bug and is shown with its traceback.
"""

from __future__ import annotations


class StackError(Exception):
    """A failure with a sentence for the user and, in `hint`, what they can do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class MissingToolError(StackError):
    """A program that the stack needs was not found."""


class BuildError(StackError):
    """A Go build did not succeed."""


class ComponentError(StackError):
    """A part of the stack ended early or did not get ready before its deadline."""
