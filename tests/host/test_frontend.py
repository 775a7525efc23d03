"""The example workflows in the real frontend, in headless Chromium."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from frontend import Frontend
from PIL import Image

WORKFLOWS = Path(__file__).parents[2] / "example_workflows"


def test_every_workflow_has_its_thumbnail() -> None:
    names = {path.stem for path in WORKFLOWS.glob("*.json")}
    assert names == {path.stem for path in WORKFLOWS.glob("*.jpg")}
    for path in WORKFLOWS.glob("*.jpg"):
        with Image.open(path) as picture:
            assert max(picture.size) <= 1024


def test_workflow_runs_as_it_opens(frontend: Frontend) -> None:
    frontend.load(WORKFLOWS / "Enhance a thermal image.json")
    assert not frontend.missing_nodes()
    frontend.check()
    frontend.run(timeout=300)
    frontend.screenshot("enhance.png")
    shown = frontend.shown_images()
    assert shown.get("8") == 1, shown
    frontend.check()


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
