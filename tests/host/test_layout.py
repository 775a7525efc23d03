"""The example workflows as they are stored: what they show at a glance, and that each node is in one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from layout import WORKFLOWS, faults, view
from workflows import NOTES

if TYPE_CHECKING:
    from collections.abc import Callable

PATHS = sorted(WORKFLOWS.glob("*.json"))
PAGES = Path(__file__).parents[2] / "web" / "docs"


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_workflow_is_laid_out_well(path: Path) -> None:
    workflow = read(path)
    assert faults(workflow) == []
    assert workflow["extra"]["ds"] == view(workflow)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_workflow_tells_what_to_change(path: Path) -> None:
    notes = [node["widgets_values"][0] for node in read(path)["nodes"] if node["type"] in NOTES]
    assert any("**What to change**" in note for note in notes)


def test_names_begin_with_their_place_in_the_list() -> None:
    assert [path.stem[:3] for path in PATHS] == [f"{number:02} " for number in range(1, len(PATHS) + 1)]


def test_each_node_is_in_a_workflow() -> None:
    used = {node["type"] for path in PATHS for node in read(path)["nodes"]}
    assert {page.stem for page in PAGES.glob("HiDRA_*.md")} <= used


def over(workflow: dict[str, Any]) -> None:
    workflow["nodes"][2]["pos"] = workflow["nodes"][1]["pos"]


def behind(workflow: dict[str, Any]) -> None:
    workflow["nodes"][1]["pos"][0] += 3000


def narrow(workflow: dict[str, Any]) -> None:
    workflow["groups"][0]["bounding"][2] -= 100


def zoomed(workflow: dict[str, Any]) -> None:
    workflow["extra"]["ds"]["scale"] = 1.0


@pytest.mark.parametrize(
    ("change", "said"),
    [(over, "lies over"), (behind, "runs backwards"), (narrow, "in no group"), (zoomed, "not inside the window")],
)
def test_faults_are_named(change: Callable[[dict[str, Any]], None], said: str) -> None:
    workflow = read(PATHS[0])
    change(workflow)
    assert any(said in fault for fault in faults(workflow))
