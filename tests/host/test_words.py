"""The library's messages in the words of the nodes; needs no host."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]
NO_NODES = ("grey.py", "flight.py")
"""Parts of the library that no node uses."""

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def words() -> ModuleType:
    spec = importlib.util.spec_from_file_location("words", ROOT / "nodes" / "host" / "words.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def messages() -> list[str]:
    """The texts in the parts of the library that nodes read files with."""
    folders = [ROOT / "hidra_core" / name for name in ("images", "sensor", "thermal", "video", "sources", "vectors")]
    files = [path for folder in folders for path in folder.rglob("*.py") if path.name not in NO_NODES]
    return [
        node.value
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("give its size (--raw-size WIDTHxHEIGHT)", "give its size (raw_size WIDTHxHEIGHT)"),
        (
            "no scene (--crop, --telemetry), or use --mapping percentile",
            "no scene (crop, telemetry), or use mapping percentile",
        ),
        (
            "as the camera stores them; --kelvin says otherwise",
            "as the camera stores them; kelvin_per_count says otherwise",
        ),
        ("/a/b--crop/--plane-x.raw has 3 bytes", "/a/b--crop/--plane-x.raw has 3 bytes"),
        ("out.png: .png cannot hold it; use .tiff", "out.png: .png cannot hold it; set format to TIFF"),
    ],
)
def test_options_become_inputs(said: str, expected: str) -> None:
    assert words().in_words_of_nodes(said) == expected


def test_every_option_in_messages_of_readers_has_its_input() -> None:
    named = {option for message in messages() for option in OPTION.findall(message)}
    assert "--raw-size" in named
    assert {option for option in named if words().in_words_of_nodes(option) == option} == set()


def test_the_library_says_what_is_replaced() -> None:
    said = messages()
    assert [text for text in words().INPUTS if not any(text in message for message in said)] == []
