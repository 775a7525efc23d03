"""The library's messages in the words of the shell: the options to give, which other programs do not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

_OPTIONS = (
    ("on_broken_frame", "have broken frames skipped", "have broken frames skipped with --on-broken-frame skip"),
    ("kelvin", "state the kelvin per count", "state the kelvin per count with --kelvin"),
    ("unit", "or write counts", "or leave out --unit to write counts"),
    ("force_kelvin", "force the one given if", "add --force-kelvin if"),
)
"""The option by its name in the parsed command line; what messages say; what they say to users of a command that has
the option."""


def in_words_of_shell(message: str, arguments: argparse.Namespace) -> str:
    """A message of the library, with the options that its remedy needs.

    Args:
        message: an error, a warning or a note.
        arguments: the parsed command line, by which the options of the command are known.
    """
    for name, said, instead in _OPTIONS:
        if name in vars(arguments):
            message = message.replace(said, instead)
    return message
