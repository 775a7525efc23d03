"""What the documents name is there: links, anchors, files, commands, options, imports and the paper's functions."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ROOT / "docs"
CHANGELOG = ROOT / "CHANGELOG.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", CHANGELOG, *sorted(DOCUMENTS.rglob("*.md"))]
PRESENT = [page for page in PAGES if page != CHANGELOG]
"""Pages that speak of the present; the changelog also names what went."""

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
INLINE_ACROSS_LINES = re.compile(r"`([^`]+)`")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE_FOLDERS = ("benchmarks", "docs", "example_workflows", "hidra_core", "nodes", "tests", "train", ".github")


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def pages(selection: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", selection, ids=named)


@cache
def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    return FENCE.sub("", text(page))


def links(page: Path) -> list[str]:
    targets = LINK.findall(INLINE.sub(lambda match: "x" * len(match[0]), prose(page)))
    return [target for target in targets if not target.startswith(("https://", "http://", "mailto:"))]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#{1,6} +(.+?) *$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def inline_code(page: Path) -> list[str]:
    return [" ".join(code.split()) for code in INLINE_ACROSS_LINES.findall(prose(page))]


def command_lines(page: Path) -> list[list[str]]:
    """The words of each command in the page, in blocks and in the text, without comments."""
    blocks = [code for language, code in FENCE.findall(text(page)) if not language]
    lines = [line for code in blocks for line in re.sub(r"\\\n", " ", code).splitlines()]
    return [re.sub(r"\s#.*", "", line).split() for line in [*lines, *inline_code(page)] if line.strip()]


@cache
def subcommands() -> dict[str, set[str]]:
    """The options of every command of ``hidra``."""
    from hidra_core.cli import build_parser

    actions = build_parser()._actions
    commands = next(action for action in actions if isinstance(action, argparse._SubParsersAction)).choices
    return {name: set(parser._option_string_actions) for name, parser in commands.items()}


@cache
def script_options() -> frozenset[str]:
    """The options of the scripts, by their source: importing all of them would take long."""
    modules = [path for folder in ("train", "benchmarks", "tests") for path in (ROOT / folder).rglob("*.py")]
    pattern = re.compile(r'add_argument\(\s*"(--?[\w-]+)"')
    return frozenset(option for path in modules for option in pattern.findall(path.read_text(encoding="utf-8")))


def options_of(words: list[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]


@cache
def defined(path: Path) -> set[str]:
    """Functions and classes at the top of a module."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@pages(PAGES)
def test_links_lead_somewhere(page):
    for target in links(page):
        path, _, anchor = target.partition("#")
        destination = (page.parent / path).resolve() if path else page
        assert destination.exists(), f"{named(page)} links {target}, which is not there"
        if anchor:
            assert anchor in anchors(destination), f"{named(page)} links {target}, and there is no such heading"


def test_every_document_is_linked():
    linked = {(page.parent / target.partition("#")[0]).resolve() for page in PAGES for target in links(page)}
    lost = {named(path) for path in DOCUMENTS.rglob("*") if path.is_file()} - {
        named(path) for path in linked if path.is_relative_to(ROOT)
    }
    assert not lost


@pages(PRESENT)
def test_files_named_in_code_exist(page):
    for words in command_lines(page):
        for word in words:
            path = word.rstrip(".,:;")
            if re.fullmatch(rf"({'|'.join(map(re.escape, CODE_FOLDERS))})/[\w./-]+", path):
                assert (ROOT / path).exists(), f"{named(page)} names {path}, which is not there"


@pages(PRESENT)
def test_scripts_have_the_options_named(page):
    for words in command_lines(page):
        script = next((index for index, word in enumerate(words) if word.endswith(".py") and "/" in word), None)
        if script is None:
            continue
        if words[0] == "python":
            assert (ROOT / words[script]).is_file(), f"{named(page)}: {' '.join(words)}"
        unknown = set(options_of(words[script + 1 :])) - script_options()
        assert not unknown, f"{named(page)}: {' '.join(words)}: {unknown}"


@pages(PRESENT)
def test_commands_have_the_options_named(page):
    for words in command_lines(page):
        if words[0] != "hidra" or len(words) < 2 or words[1].startswith("-"):
            continue
        assert words[1] in subcommands(), f"{named(page)}: {' '.join(words)}"
        unknown = set(options_of(words[2:])) - subcommands()[words[1]]
        assert not unknown, f"{named(page)}: {' '.join(words)}: {unknown}"


@pages(PRESENT)
def test_options_named_alone_exist(page):
    known = script_options().union(*subcommands().values())
    for words in command_lines(page):
        if words[0].startswith("--"):
            assert set(options_of(words)) <= known, f"{named(page)}: {' '.join(words)}"


@pages(PRESENT)
def test_python_examples_import_what_is_there(page):
    for code in (code for language, code in FENCE.findall(text(page)) if language == "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    importlib.import_module(alias.name)
            elif isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module or "")
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{named(page)}: {alias.name} is not in {node.module}"


@pages(PRESENT)
def test_names_of_the_library_exist(page):
    for code in inline_code(page):
        dotted = re.match(r"hidra_core(?:\.\w+)+", code)
        if dotted is None:
            continue
        module, rest = importlib.import_module("hidra_core"), dotted[0].split(".")[1:]
        for index, name in enumerate(rest):
            path = ".".join(["hidra_core", *rest[: index + 1]])
            if not hasattr(module, name):
                importlib.import_module(path)
            module = getattr(module, name)


def test_the_paper_is_where_the_table_says():
    section = text(ROOT / "CONTRIBUTING.md").partition("## Where the paper is in the code")[2].partition("\n## ")[0]
    rows = re.findall(r"^\|.*\]\((\S+\.py)\) \| (.*) \|$", section, re.MULTILINE)
    named_functions = [(path, name) for path, names in rows for name in INLINE.findall(names)]
    assert len(named_functions) >= 20
    missing = [f"{path}: {name}" for path, name in named_functions if name not in defined(ROOT / path)]
    assert not missing
