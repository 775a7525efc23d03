"""The parser of the command line, which names the nearest option or command for a misspelt one."""

from __future__ import annotations

import argparse
from difflib import get_close_matches
from typing import TYPE_CHECKING, NoReturn

from .console import WRONG_USAGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, and how to see what would be right.

    Attributes:
        commands: the parsers of the commands by name; none of a parser that is one of them.
    """

    commands: dict[str, Parser]

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.commands = {}

    def check(self, words: Sequence[str]) -> None:
        """End the program for a misspelt option or command, and for an empty word, in which a variable was not set.

        This goes before the parsing, which names what is missing first, and would read ``-output`` as ``-o utput``.

        Args:
            words: the command line without the program's name.

        Raises:
            SystemExit: there is such a word.
        """
        optional = True
        for index, word in enumerate(words):
            if not word or (optional and word.startswith("--") and word.endswith("=")):
                self._refuse_empty(words, index)
            if word == "--":
                optional = False
            elif optional and word.startswith("-") and not self._may_be_value(word):
                self._check_option(word)
            elif self.commands:
                if word not in self.commands:
                    self.error(f"there is no command '{word}'{_nearest(word, self.commands)}")
                return self.commands[word].check(words[index + 1 :])
        return None

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line, and where to look in another; the usage of a command is too long to help."""
        what = "commands" if self.commands else "options"
        text = message.removeprefix("argument ")
        self.exit(WRONG_USAGE, f"hidra: error: {text}\n{self.prog} --help lists the {what}\n")

    def _refuse_empty(self, words: Sequence[str], index: int) -> NoReturn:
        option, _, _ = words[index].partition("=")
        before = words[index - 1] if index else ""
        if not option and before.startswith("-") and "--" not in words[:index]:
            action = self._option_string_actions.get(before)
            option = before if action is None or action.nargs != 0 else ""
        if option:
            self.error(f"{option} is followed by an empty name; is a variable not set?")
        self.error(
            "an empty name is no input; is a variable not set? Name a file, a folder, a pattern, or . for this folder"
        )

    def _may_be_value(self, word: str) -> bool:
        """Whether a word that begins with a dash is a number or a name with spaces, which argparse takes for values."""
        if word == "-" or " " in word:
            return True
        try:
            float(word)
        except ValueError:
            return False
        return True

    def _check_option(self, word: str) -> None:
        known = self._option_string_actions
        name = word.partition("=")[0]
        if word.startswith("--"):
            if any(option.startswith(name) for option in known):  # argparse completes what is cut short
                return
        elif f"-{name}" not in known and word[:2] in known:
            return
        self.error(f"unknown option {name}{_nearest(name, known)}")


def _nearest(word: str, known: Iterable[str]) -> str:
    matches = get_close_matches(word, list(known), n=1)
    return f"; did you mean {matches[0]}?" if matches else ""
