"""The Estimate node's report, of weights files with probes and without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from helpers.reference import make_probes
from safetensors.torch import save_file

from hidra_core import degradations, estimate, load_weights, scenes
from hidra_core.images.files import read_safetensors
from hidra_core.readouts import KINDS
from hidra_core.vectors import degradation_report
from hidra_core.weights import add_probes, weights_path

if TYPE_CHECKING:
    from client import HostClient
    from conftest import HostServer
    from frontend import Frontend

WORKFLOW = Path(__file__).parents[2] / "example_workflows" / "06 Simulate, then restore.json"


@pytest.fixture(scope="module")
def files(host: HostServer) -> dict[str, Path]:
    """hidra-tiny's weights in models/hidra, without probes and with some."""
    folder = host.folder("models", "hidra")
    folder.mkdir(parents=True, exist_ok=True)
    plain, probed = folder / "plain.safetensors", folder / "probed.safetensors"
    tensors, header = read_safetensors(weights_path("hidra-tiny"))
    header.pop("probes", None)
    save_file({key: tensor for key, tensor in tensors.items() if not key.startswith("probe.")}, plain, header)
    add_probes(plain, make_probes(), probed)
    return {"plain": plain, "probed": probed}


def report(client: HostClient, weights: Path) -> str:
    scene = {"scene": "street", "degradation": "fpn", "seed": 1, "width": 128, "height": 96}
    result = client.run(
        {
            "image": {"class_type": "HiDRA_SampleScene", "inputs": scene},
            "estimate": {
                "class_type": "HiDRA_EstimateDegradation",
                "inputs": {"image": ["image", 0], "weights": weights.name},
            },
            "show": {"class_type": "PreviewAny", "inputs": {"source": ["estimate", 1]}},
        }
    )
    return " ".join(result.outputs["estimate"]["text"])


def test_bars_are_shown_where_the_weights_have_probes(client: HostClient, files: dict[str, Path]) -> None:
    lines = report(client, files["probed"]).splitlines()
    bars = {line[11:].partition(":")[0]: line[:10] for line in lines if line[0] in "█░"}
    assert list(bars) == list(KINDS)
    assert all(len(bar) == 10 and not bar.strip("█░") for bar in bars.values())

    clean = torch.from_numpy(scenes.render("street", 96, 128, 1))[None, None]
    record = degradations.sample("fpn", torch.Generator().manual_seed(1))
    images = degradations.apply(clean, record)[:, 0, :, :, None]
    weights = load_weights(files["probed"])
    expected = degradation_report(images, estimate(images, weights), files["probed"].name).splitlines()
    assert [line.partition(",")[0] for line in lines[:2]] == [line.partition(",")[0] for line in expected[:2]]
    assert bars == {line[11:].partition(":")[0]: line[:10] for line in expected if line[0] in "█░"}


def test_weights_without_probes_show_no_bars(client: HostClient, files: dict[str, Path]) -> None:
    text = report(client, files["plain"])
    assert "noise" in text
    assert not set(text) & set("█░")


def test_bars_in_the_frontend(frontend: Frontend, files: dict[str, Path]) -> None:
    workflow = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    (node,) = [node for node in workflow["nodes"] if node["type"] == "HiDRA_EstimateDegradation"]
    node["widgets_values"] = [files["probed"].name]
    (scene,) = [node for node in workflow["nodes"] if node["type"] == "HiDRA_SampleScene"]
    scene["widgets_values"][-3:-1] = [128, 96]
    frontend.load(workflow)
    entry = frontend.run(timeout=300)
    (text,) = entry["outputs"][str(node["id"])]["text"]
    frontend.screenshot("probes.png")
    shown = frontend.page.evaluate("() => [...document.querySelectorAll('textarea')].map(t => t.value)")
    shown += frontend.page.locator(".dom-widget").all_inner_texts()
    assert any(all(line in part for line in text.splitlines() if line[0] in "█░") for part in shown), shown
    frontend.check()
