"""What a user sees after Run: pictures that are the output, reports of cached nodes, and one error for one mistake."""

from __future__ import annotations

import io
import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from client import HostClient
    from conftest import HostServer
    from frontend import Frontend

ROOT = Path(__file__).parents[2]
WORKFLOWS = ROOT / "example_workflows"
WEIGHTS = ROOT / "hidra_core" / "models" / "hidra-tiny" / "weights.safetensors"
NAMING = ("HiDRA_SaveThermal", "HiDRA_SaveDegradation", "HiDRA_BakeLoRA", "HiDRA_CalibrateCamera")
"""Nodes that write files, with the start of their names as an input."""

VUE = "async on => await app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)"
BATCH = """values => {
    app.clean()
    const make = (type, at, set = {}) => {
        const node = LiteGraph.createNode(type)
        app.graph.add(node)
        node.pos = at
        for (const [name, value] of Object.entries(set)) node.widgets.find(one => one.name === name).value = value
        return node
    }
    const link = (from, output, to, input) => from.connect(output, to, to.findInputSlot(input))
    const load = make("HiDRA_LoadSDTurbo", [0, 0])
    const scene = make("HiDRA_SampleScene", [0, 200], { width: 128, height: 96 })
    const batch = make("RepeatImageBatch", [0, 600], { amount: 2 })
    const estimate = make("HiDRA_EstimateDegradation", [400, 400])
    const apply = make("HiDRA_ApplyLoRA", [400, 0])
    const enhance = make("HiDRA_OneStepEnhance", [800, 0], values)
    const show = make("PreviewImage", [1300, 0])
    link(scene, 0, batch, "image")
    link(batch, 0, estimate, "image")
    link(batch, 0, enhance, "image")
    link(load, 0, apply, "model")
    link(load, 1, apply, "vae")
    link(estimate, 0, apply, "degradation")
    link(apply, 0, enhance, "model")
    link(apply, 1, enhance, "vae")
    link(enhance, 0, show, "images")
    return [String(enhance.id), String(show.id), String(estimate.id)]
}"""


def pictures(client: HostClient, output: dict[str, Any]) -> list[np.ndarray]:
    return [np.asarray(Image.open(io.BytesIO(client.view(image))).convert("L")) for image in output["images"]]


@pytest.mark.parametrize("is_vue", [False, True], ids=["LiteGraph", "Nodes 2.0"])
def test_a_node_shows_its_output_and_nothing_else(frontend: Frontend, client: HostClient, is_vue: bool) -> None:
    frontend.page.evaluate(VUE, is_vue)
    enhance, show, estimate = frontend.page.evaluate(BATCH, {"blend": 0.1})
    outputs = frontend.run()["outputs"]
    shown, connected = (pictures(client, outputs[node]) for node in (enhance, show))
    assert len(shown) == len(connected) == 2
    assert all(np.array_equal(one, other) for one, other in zip(shown, connected, strict=True))
    if not is_vue:
        frontend.page.wait_for_function("id => app.graph.getNodeById(Number(id)).imgs?.length === 2", arg=enhance)
    sources = frontend.page.evaluate("id => app.graph.getNodeById(Number(id)).imgs?.map(one => one.src) ?? []", enhance)
    drawn = frontend.page.locator(f"[data-node-id='{enhance}'] img").all() if is_vue else []
    sources += [one.get_attribute("src") for one in drawn]
    assert [source for source in sources if "/view?" not in source] == []
    # The same graph anew: all nodes are cached, and yet they show what they showed.
    enhance, show, estimate = frontend.page.evaluate(BATCH, {"blend": 0.1})
    frontend.run()
    frontend.page.wait_for_function(
        """id => app.graph.getNodeById(Number(id)).widgets.some(
            one => one.name.match(/report/) && one.value.includes("measured in the pixels"))""",
        arg=estimate,
    )
    frontend.page.evaluate(VUE, False)
    frontend.check()


def refused(frontend: Frontend) -> tuple[int, dict[str, Any]]:
    """How the host answers when the graph on the page is to run, and its errors by node."""
    with frontend.page.expect_response(lambda one: one.url.endswith("/api/prompt")) as sent:
        frontend.page.evaluate("async () => { await app.queuePrompt(0) }")
    frontend.page.wait_for_timeout(500)
    frontend.close_dialogs()
    return sent.value.status, sent.value.json()["node_errors"]


def test_one_mistake_is_one_error(frontend: Frontend) -> None:
    workflow = json.loads((WORKFLOWS / "05 Thermal video.json").read_text(encoding="utf-8"))
    (video,) = (node for node in workflow["nodes"] if node["type"] == "HiDRA_EnhanceVideo")
    video["widgets_values"] = ["gone.safetensors", *video["widgets_values"][1:]]
    frontend.load(workflow)
    (error,) = refused(frontend)[1][str(video["id"])]["errors"]
    assert "gone.safetensors" in error["details"]
    assert "hidra-tiny" in error["details"]


def test_nothing_runs_without_the_checkpoint(frontend: Frontend) -> None:
    workflow = json.loads((WORKFLOWS / "02 Enhance a thermal image (SD-Turbo).json").read_text(encoding="utf-8"))
    frontend.load(workflow)
    status, errors = refused(frontend)
    assert status == 400  # with a part that is valid the host would run that, and show half of the example
    assert len(errors) >= 1
    loaded = {str(node["id"]) for node in workflow["nodes"] if node["type"] == "LoadImage"}  # shown before any run
    assert set(frontend.shown_images()) == loaded


def test_a_degradation_outlives_its_weights(host: HostServer, client: HostClient) -> None:
    """Three weights in turn, of which two are kept in memory, while a degradation of the first is held."""
    names = [f"turn-{number}.safetensors" for number in range(3)]
    for name in names:
        shutil.copyfile(WEIGHTS, host.folder("models", "hidra") / name)
    scene = {"scene": "street", "degradation": "fpn", "seed": 1, "width": 96, "height": 64}
    prompt: dict[str, Any] = {"image": {"class_type": "HiDRA_SampleScene", "inputs": scene}}
    for number in (0, 1, 2, 1, 2):
        inputs = {"image": ["image", 0], "weights": names[number]}
        prompt |= {f"estimate {number}": {"class_type": "HiDRA_EstimateDegradation", "inputs": inputs}}
        texts = {"source": [f"estimate {number}", 1]}
        prompt |= {f"show {number}": {"class_type": "PreviewAny", "inputs": texts}}
        client.run(prompt)
    assert "memory leak" not in host.log_text()


NAMED = """() => {
    app.clean()
    const make = (type, at, set) => {
        const node = LiteGraph.createNode(type)
        app.graph.add(node)
        node.pos = at
        for (const [name, value] of Object.entries(set)) node.widgets.find(one => one.name === name).value = value
        return node
    }
    make("HiDRA_SampleScene", [0, 600], { seed: 41 }).title = "Scene"
    const prefix = "named/%date:yyyy%-%Scene.seed%-%width%"
    const load = make("HiDRA_LoadThermal", [0, 0], {})
    const save = make("HiDRA_SaveThermal", [500, 0], { filename_prefix: prefix, radiometric: false })
    load.connect(0, save, save.findInputSlot("image"))
    load.connect(1, save, save.findInputSlot("thermal"))
    for (const [type, name] of [["HiDRA_SaveDegradation", "filename_prefix"], ["HiDRA_BakeLoRA", "name"],
        ["HiDRA_CalibrateCamera", "filename_prefix"]]) make(type, [1000, 0], { [name]: prefix })
    return String(save.id)
}"""


def test_placeholders_in_names_are_replaced(frontend: Frontend, host: HostServer) -> None:
    save = frontend.page.evaluate(NAMED)
    prompt = frontend.page.evaluate("async () => (await app.graphToPrompt()).output")
    year = datetime.now().astimezone().year
    names = {
        node["class_type"]: node["inputs"]["name" if node["class_type"] == "HiDRA_BakeLoRA" else "filename_prefix"]
        for node in prompt.values()
        if node["class_type"] in NAMING
    }
    assert names == dict.fromkeys(NAMING, f"named/{year}-41-%width%")
    frontend.page.evaluate(
        "kinds => { for (const one of [...app.graph.nodes]) if (kinds.includes(one.type)) app.graph.remove(one) }",
        [kind for kind in NAMING if kind != "HiDRA_SaveThermal"],
    )
    (file, *_) = frontend.run()["outputs"][save]["files"]
    assert file["filename"].startswith(f"{year}-41-")
    assert "%" not in file["filename"]
    assert (host.folder("output", "named") / file["filename"]).is_file()
    frontend.check()


REPORTED = """([id, texts]) => texts.map(text => {
    const node = app.graph.getNodeById(Number(id))
    node.onExecuted({ text })
    return node.widgets.filter(one => one.name === "hidra_report").map(one => one.value)
})"""


def test_an_empty_report_takes_the_earlier_one_away(frontend: Frontend) -> None:
    enhance, _, _ = frontend.page.evaluate(BATCH, {})
    shown = frontend.page.evaluate(REPORTED, [enhance, [[], ["warning"], []]])
    assert shown == [[], ["warning"], [""]]
