"""The example workflows in the real frontend, in headless Chromium."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

if TYPE_CHECKING:
    from frontend import Frontend

WORKFLOWS = Path(__file__).parents[2] / "example_workflows"
BUILT_IN = sorted(path for path in WORKFLOWS.glob("*.json") if "SD-Turbo" not in path.stem)
SHOWING = ("PreviewImage", "SaveImage", "SaveVideo")
"""Nodes that show what came out."""


def test_every_workflow_has_its_thumbnail() -> None:
    names = {path.stem for path in WORKFLOWS.glob("*.json")}
    assert names == {path.stem for path in WORKFLOWS.glob("*.jpg")}
    for path in WORKFLOWS.glob("*.jpg"):
        with Image.open(path) as picture:
            assert max(picture.size) <= 1024


def test_every_thumbnail_shows_its_own_workflow() -> None:
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in WORKFLOWS.glob("*.jpg")]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("path", BUILT_IN, ids=lambda path: path.stem)
def test_workflow_runs_as_it_opens(frontend: Frontend, path: Path) -> None:
    frontend.load(path)
    assert not frontend.missing_nodes()
    frontend.check()
    history = frontend.run(timeout=600)
    frontend.screenshot(f"{path.stem}.png")
    nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
    shown = {identifier for identifier, output in history["outputs"].items() if output.get("images")}
    expected = {str(node["id"]) for node in nodes if node["type"] in SHOWING}
    assert expected
    assert expected <= shown
    assert {str(node["id"]) for node in nodes if node["type"] == "PreviewImage"} <= set(frontend.shown_images())
    frontend.check()


def test_saved_values_reach_their_inputs(frontend: Frontend) -> None:
    saved = {"upscale": 2, "tiling": "512", "blend": 0.5, "low_frequencies": 0.25, "cutoff": 32, "restraint": False}
    workflow = json.loads((WORKFLOWS / "Enhance a thermal image.json").read_text(encoding="utf-8"))
    (node,) = [node for node in workflow["nodes"] if node["type"] == "HiDRA_OneStepEnhance"]
    node["widgets_values"] = list(saved.values())
    frontend.load(workflow)
    assert saved.items() <= frontend.widgets(node["id"]).items()


def test_sd_turbo_workflow_opens_and_names_its_checkpoint(frontend: Frontend) -> None:
    frontend.load(WORKFLOWS / "Enhance a thermal image (SD-Turbo).json")
    assert not frontend.missing_nodes()
    assert any("sd_turbo.safetensors" in model for model in frontend.missing_models())


@pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("*.json")), ids=lambda path: path.stem)
def test_links_are_consistent(path: Path) -> None:
    workflow = json.loads(path.read_text(encoding="utf-8"))
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for identifier, source, slot, target, place, kind in workflow["links"]:
        assert identifier in nodes[source]["outputs"][slot]["links"]
        assert nodes[target]["inputs"][place]["link"] == identifier
        assert nodes[source]["outputs"][slot]["type"] == kind
