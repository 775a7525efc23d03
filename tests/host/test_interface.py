"""Names, help pages and translations: what a host says of the nodes, in all languages, and what a search finds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from interface import LISTS, LOCALES, PAGES, PREFIX, nodes_of, with_lists, words_of, written

if TYPE_CHECKING:
    from conftest import HostServer
    from frontend import Frontend

LANGUAGES = sorted(path.name for path in LOCALES.iterdir())
SPECIAL = "@{}|"
"""What the page's translation does not print as it stands."""

LONGEST_NAME = 58
"""Letters of a name; beyond, its node reaches into the next column of the example workflows."""

ANEW = "run 'python tests/host/interface.py URL' with a host that runs, and translate what is new"

ENHANCE, LOAD, SAVE = "HiDRA_OneStepEnhance", "HiDRA_LoadThermal", "HiDRA_SaveThermal"
SENSOR = "HiDRA_CorrectSensor"
FOUND = {
    "infrared": (ENHANCE, ENHANCE),
    "thermal": (LOAD, LOAD),
    "destripe": (ENHANCE, SENSOR),
    "denoise": (ENHANCE, ENHANCE),
    "FLIR": (LOAD, LOAD),
    "temperature": (LOAD, SAVE),
    "16-bit": (LOAD, LOAD),
}
"""What a user types: the node among the first three, and the one that older hosts find.

These look at the first thirty letters of names alone.
"""


@pytest.fixture(scope="module")
def nodes(host: HostServer) -> dict[str, dict[str, Any]]:
    return nodes_of(host.url)


def words(language: str, name: str = "nodeDefs") -> dict[str, Any]:
    return json.loads((LOCALES / language / f"{name}.json").read_text(encoding="utf-8"))


def leaves(tree: dict[str, Any], above: str = "") -> dict[str, str]:
    """Path to text of all texts."""
    found: dict[str, str] = {}
    for key, value in tree.items():
        found |= leaves(value, f"{above}/{key}") if isinstance(value, dict) else {f"{above}/{key}": value}
    return found


def test_english_words_are_those_of_the_nodes(nodes: dict[str, dict[str, Any]]) -> None:
    assert words("en") == {name: words_of(node) for name, node in nodes.items()}, ANEW


def test_categories_have_their_words(nodes: dict[str, dict[str, Any]]) -> None:
    used = {part for node in nodes.values() for part in node["category"].split("/")} - {"image"}
    assert set(words("en", "main")["nodeCategories"]) == used


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["nodeDefs", "main"])
def test_each_language_has_all_words(language: str, name: str) -> None:
    english, here = leaves(words("en", name)), leaves(words(language, name))
    assert here.keys() == english.keys()
    assert [key for key, text in here.items() if not text.strip() or set(text) & set(SPECIAL)] == []
    assert (LOCALES / language / f"{name}.json").read_text(encoding="utf-8") == written(words(language, name))


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_fit_into_the_nodes_of_the_workflows(language: str) -> None:
    """A node is at least as wide as its name."""
    names = [node["display_name"] for node in words(language).values()]
    assert [name for name in names if len(name) > LONGEST_NAME] == []


def test_each_node_has_its_help_page_with_its_inputs(nodes: dict[str, dict[str, Any]]) -> None:
    assert {page.stem for page in PAGES.glob("*.md")} == set(nodes)
    for name, node in nodes.items():
        text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
        assert text.startswith(f"# {node['display_name']}\n"), name
        assert LISTS.search(text), name
        assert with_lists(text, node) == text, f"{name}: {ANEW}"


def test_names_are_found(frontend: Frontend, nodes: dict[str, dict[str, Any]]) -> None:
    """The page's own search, as its box asks it."""
    found = frontend.page.evaluate(
        """queries => {
            const stores = document.querySelector("#vue-app").__vue_app__.config.globalProperties.$pinia._s
            const search = query => stores.get("nodeDef").nodeSearchService.searchNode(query, [], { limit: 64 })
            return Object.fromEntries(queries.map(query => [query, search(query).map(node => node.name)]))
        }""",
        list(FOUND),
    )
    aliases = "search_aliases" in nodes[ENHANCE]
    for query, (first, older) in FOUND.items():
        assert (first in found[query][:3]) if aliases else (older in found[query]), (query, found[query])
    assert all(name.startswith(PREFIX) for name in found["infrared"][:2])
