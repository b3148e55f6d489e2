"""What a command answers to bad input."""

from __future__ import annotations


class Refused(Exception):
    """Bad input, in one sentence for the person at the terminal."""


def sentence(error: BaseException) -> str:
    """The words of an error on one line."""
    return " ".join(str(error).split()) or type(error).__name__
