"""The subgraph blueprints fit the nodes that a host has, with their links, slots and values, and run in its page."""

from __future__ import annotations

import json
import urllib.error
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from interface import KINDS, inputs_of, nodes_of

if TYPE_CHECKING:
    from client import HostClient
    from conftest import HostServer
    from frontend import Frontend

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


def node(number: int, kind: str, gives: str | None, *values: Any) -> dict[str, Any]:
    """A saved node with at most one output."""
    outputs = [{"name": gives, "type": gives, "links": []}] if gives else []
    return {"id": number, "type": kind, "pos": [0, 0], "size": [300, 200], "inputs": [], "outputs": outputs} | {
        "flags": {},
        "order": 0,
        "mode": 0,
        "properties": {},
        "widgets_values": list(values),
    }


def connect(workflow: dict[str, Any], source: dict[str, Any], slot: int, target: dict[str, Any], name: str) -> None:
    """Link an output to an input, which is added where there is none of this name."""
    number = len(workflow["links"]) + 1
    kind = source["outputs"][slot]["type"]
    source["outputs"][slot]["links"] = [*(source["outputs"][slot]["links"] or []), number]
    places = [place for place, one in enumerate(target["inputs"]) if one["name"] == name]
    if not places:
        target["inputs"].append({"name": name, "type": kind})
    place = places[0] if places else len(target["inputs"]) - 1
    target["inputs"][place]["link"] = number
    workflow["links"].append([number, source["id"], slot, target["id"], place, kind])
    workflow["last_link_id"] = number


def around(path: Path) -> dict[str, Any]:
    """A workflow of a blueprint, with what it needs before it and what shows its outputs behind it."""
    workflow = json.loads(path.read_text(encoding="utf-8"))
    (outer,) = workflow["nodes"]
    workflow["links"] = []
    scene = node(100, "HiDRA_SampleScene", "IMAGE", "street", "fpn", 1, "fixed", 128, 96, 3)
    video = node(101, "CreateVideo", "VIDEO", 10)
    for slot in [slot["name"] for slot in outer["inputs"] if not slot.get("widget")]:
        if scene not in workflow["nodes"]:
            workflow["nodes"].append(scene)
        if slot == "video":
            workflow["nodes"].append(video)
            connect(workflow, scene, 0, video, "images")
        connect(workflow, video if slot == "video" else scene, 0, outer, slot)
    for place, slot in enumerate(outer["outputs"]):
        kind, name, values = SHOWING[slot["type"]]
        workflow["nodes"].append(node(200 + place, kind, None, *values))
        connect(workflow, outer, place, workflow["nodes"][-1], name)
    workflow["last_node_id"] = 300
    return workflow


SHOWING = {
    "IMAGE": ("PreviewImage", "images", []),
    "STRING": ("PreviewAny", "source", []),
    "VIDEO": ("SaveVideo", "video", ["video/blueprint", "auto", "auto"]),
}
"""What shows an output: the node, its input and its values."""


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_blueprint_runs(path: Path, client: HostClient, frontend: Frontend) -> None:
    listed = offered(client)
    if listed is None:
        pytest.skip("this host offers no blueprints of packs")
    assert path.stem in listed
    frontend.load(around(path))
    frontend.check()
    outputs = frontend.run(timeout=300)["outputs"]
    frontend.screenshot(f"{path.stem}.png")
    shown = [outputs[str(one["id"])] for one in around(path)["nodes"] if one["id"] >= 200]
    assert all(one.get("images") or one.get("text") for one in shown)
    frontend.check()


def offered(client: HostClient) -> set[str] | None:
    """The names of the blueprints that the host's packs have; None where it knows no such thing."""
    try:
        return {entry["name"] for entry in client.get("/global_subgraphs").values()}
    except urllib.error.HTTPError:
        return None
