"""The subgraph blueprints fit the nodes that a host has: their links, slots and values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from interface import KINDS, inputs_of, nodes_of

if TYPE_CHECKING:
    from conftest import HostServer

BLUEPRINTS = sorted((Path(__file__).parents[2] / "subgraphs").glob("*.json"))
INSIDE, OUTSIDE = -10, -20
"""What the links to the subgraph's own inputs and outputs name as their node."""


@pytest.fixture(scope="module")
def nodes(host: HostServer) -> dict[str, dict[str, Any]]:
    return nodes_of(host.url)


def kind(spec: list[Any]) -> str:
    return "COMBO" if isinstance(spec[0], list) else spec[0]


def check(path: Path, nodes: dict[str, dict[str, Any]]) -> None:
    workflow = json.loads(path.read_text(encoding="utf-8"))
    (outer,) = workflow["nodes"]
    (graph,) = workflow["definitions"]["subgraphs"]
    assert outer["type"] == graph["id"]
    assert outer["title"] == graph["name"] == path.stem
    for slots, own in ((outer["inputs"], graph["inputs"]), (outer["outputs"], graph["outputs"])):
        assert [(slot["name"], slot["type"]) for slot in slots] == [(slot["name"], slot["type"]) for slot in own]
    inner = {node["id"]: node for node in graph["nodes"]}
    for node in inner.values():
        known = nodes[node["type"]]
        specs = inputs_of(known)
        assert {slot["name"]: slot["type"] for slot in node["inputs"]} == {key: kind(one) for key, one in specs.items()}
        assert [(slot["name"], slot["type"]) for slot in node["outputs"]] == list(
            zip(known["output_name"], known["output"], strict=True)
        )
        assert all(slot["link"] for slot in node["inputs"] if slot["name"] in wired(known))
        button = sum("hidra_upload" in one[1] for one in specs.values())
        widgets = sum(kind(one) in KINDS for one in specs.values())
        assert len(node["widgets_values"]) == widgets + button
    for link in graph["links"]:
        source, target = link["origin_id"], link["target_id"]
        given = graph["inputs"] if source == INSIDE else inner[source]["outputs"]
        taken = graph["outputs"] if target == OUTSIDE else inner[target]["inputs"]
        assert given[link["origin_slot"]]["type"] == taken[link["target_slot"]]["type"] == link["type"]
        if target != OUTSIDE:
            assert taken[link["target_slot"]]["link"] == link["id"]


def wired(node: dict[str, Any]) -> set[str]:
    """The inputs of a node that have to be linked."""
    return {name for name, one in node["input"].get("required", {}).items() if kind(one) not in KINDS}


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_blueprint_fits_the_nodes(path: Path, nodes: dict[str, dict[str, Any]]) -> None:
    check(path, nodes)
