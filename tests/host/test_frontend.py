"""The example workflows in the real frontend, in headless Chromium."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from frontend import Frontend

WORKFLOWS = Path(__file__).parents[2] / "example_workflows"
NEEDED = {"08": "07", "10": "09", "12": "11"}
"""Numbers of the workflows that load what others save."""
BUILT_IN = sorted(
    path
    for path in WORKFLOWS.glob("*.json")
    if "SD-Turbo" not in path.stem and path.stem[:2] not in NEEDED.values()  # which run before those that need them
)
SHOWING = ("PreviewImage", "SaveImage", "SaveVideo", "HiDRA_SaveThermal", "HiDRA_TrustReport")
"""Nodes that show what came out."""


def open_thermal(frontend: Frontend) -> None:
    """A new Load Thermal Image on the canvas, whose record is shown."""
    frontend.page.evaluate(
        """() => {
            app.graph.clear()
            const [load, show] = ["HiDRA_LoadThermal", "PreviewAny"].map(type => LiteGraph.createNode(type))
            for (const node of [load, show]) app.graph.add(node)
            load.pos = [0, 0]
            show.pos = [load.size[0] + 100, 0]
            load.connect(2, show, 0)
        }"""
    )
    frontend.page.evaluate("async () => { await app.extensionManager.command.execute('Comfy.Canvas.FitView') }")
    frontend.page.wait_for_timeout(1000)


def place_of(frontend: Frontend, name: str) -> tuple[float, float]:
    """The middle of a widget of Load Thermal Image, in pixels of the page."""
    place = frontend.page.evaluate(
        """name => {
            const node = app.graph.nodes.find(one => one.type === "HiDRA_LoadThermal")
            const widget = node.widgets.find(one => one.name === name)
            const { scale, offset } = app.canvas.ds
            const corner = app.canvas.canvas.getBoundingClientRect()
            const x = (node.pos[0] + node.size[0] / 2 + offset[0]) * scale + corner.left
            return [x, (node.pos[1] + widget.last_y + 10 + offset[1]) * scale + corner.top]
        }""",
        name,
    )
    return place[0], place[1]


def thermal_widgets(frontend: Frontend) -> dict[str, Any]:
    node = frontend.page.evaluate("() => app.graph.nodes.find(one => one.type === 'HiDRA_LoadThermal').id")
    return frontend.widgets(node)


def shown_record(frontend: Frontend) -> dict[str, Any]:
    """The record that Load Thermal Image gives in a run of the graph."""
    outputs = frontend.run()["outputs"].values()
    texts = [output["text"][0] for output in outputs if output.get("text")]
    (record,) = [text for text in texts if text.startswith("{")]
    return json.loads(record)


def test_every_workflow_has_its_thumbnail() -> None:
    names = {path.stem for path in WORKFLOWS.glob("*.json")}
    assert names == {path.stem for path in WORKFLOWS.glob("*.jpg")}
    for path in WORKFLOWS.glob("*.jpg"):
        with Image.open(path) as picture:
            assert max(picture.size) <= 1024


def test_every_thumbnail_shows_its_own_workflow() -> None:
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in WORKFLOWS.glob("*.jpg")]
    assert len(set(digests)) == len(digests)


def run_as_it_opens(frontend: Frontend, path: Path) -> None:
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


@pytest.mark.parametrize("path", BUILT_IN, ids=lambda path: path.stem)
def test_workflow_runs_as_it_opens(frontend: Frontend, path: Path) -> None:
    if path.stem[:2] in NEEDED:
        (needed,) = WORKFLOWS.glob(f"{NEEDED[path.stem[:2]]} *.json")
        run_as_it_opens(frontend, needed)
        frontend.clear()  # which also lists the files that there are now
    run_as_it_opens(frontend, path)


def test_the_starter_has_its_app(frontend: Frontend) -> None:
    """What a user sees of it in the page's app mode, where the page has one."""
    frontend.load(WORKFLOWS / "01 Enhance a thermal image.json")
    chosen = frontend.page.evaluate(
        """() => {
            const stores = document.querySelector("#vue-app").__vue_app__.config.globalProperties.$pinia._s
            const app = stores.get("appMode")
            return app ? [app.selectedInputs.map(one => one[1]), app.selectedOutputs.map(String)] : null
        }"""
    )
    if chosen is None:
        pytest.skip("this frontend has no app mode")
    workflow = json.loads((WORKFLOWS / "01 Enhance a thermal image.json").read_text(encoding="utf-8"))
    (saved,) = [str(node["id"]) for node in workflow["nodes"] if node["type"] == "SaveImage"]
    assert chosen == [["image", "blend", "upscale", "stripes"], [saved]]


REPORTING = ["HiDRA_EstimateDegradation", "HiDRA_QualityMetrics", "HiDRA_QualityMetrics"]


def shown_reports(frontend: Frontend) -> list[tuple[str, list[str], Any]]:
    """Of each node that shows a text: its type, the texts, and the values that a saved workflow has for it."""
    script = """() => app.graph.nodes.filter(node => node.type.startsWith("HiDRA_")).map(node => [
        node.type,
        (node.widgets ?? []).filter(one => one.name.match(/report|preview.text|text.preview/)).map(one => one.value),
        node.serialize().widgets_values,
    ]).filter(([, texts]) => texts.length)"""
    return sorted(frontend.page.evaluate(script))


@pytest.mark.parametrize("is_vue", [False, True], ids=["LiteGraph", "Nodes 2.0"])
def test_reports_stay(frontend: Frontend, is_vue: bool) -> None:
    frontend.page.evaluate("async on => await app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", is_vue)
    frontend.load(WORKFLOWS / "06 Simulate, then restore.json")
    frontend.run(timeout=600)
    frontend.page.wait_for_timeout(1000)
    reports = shown_reports(frontend)
    assert [kind for kind, _, _ in reports] == REPORTING
    for kind, texts, values in reports:
        assert len(texts) == 1  # once, not beside a text of the host
        assert values == (["hidra-tiny"] if kind == REPORTING[0] else ["PSNR"])
    boxes = frontend.page.locator("textarea.hidra-report:visible")
    assert boxes.count() == len(REPORTING)
    shown = {box.input_value() for box in boxes.all()}
    assert shown == {texts[0] for _, texts, _ in reports}
    assert any("stripes" in text and text.count("\n") > 5 for text in shown)
    frontend.screenshot("reports.png")
    # What another workflow shows is its own, and the reports are there again with this one.
    frontend.page.evaluate("async () => await app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    frontend.page.wait_for_function("() => app.graph.nodes.length === 0")
    frontend.page.evaluate("async () => await app.extensionManager.command.execute('Workspace.PreviousOpenedWorkflow')")
    frontend.page.wait_for_function("() => app.graph.nodes.length > 0")
    frontend.page.wait_for_timeout(1000)
    assert shown_reports(frontend) == reports
    frontend.page.evaluate("async () => await app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")
    frontend.check()


def test_saved_values_reach_their_inputs(frontend: Frontend) -> None:
    saved = {"upscale": 2, "tiling": "512", "blend": 0.5, "low_frequencies": 0.25, "cutoff": 32, "restraint": False}
    workflow = json.loads((WORKFLOWS / "01 Enhance a thermal image.json").read_text(encoding="utf-8"))
    (node,) = [node for node in workflow["nodes"] if node["type"] == "HiDRA_OneStepEnhance"]
    node["widgets_values"] = list(saved.values())
    frontend.load(workflow)
    assert saved.items() <= frontend.widgets(node["id"]).items()


def test_sd_turbo_workflow_opens_and_names_its_checkpoint(frontend: Frontend) -> None:
    frontend.load(WORKFLOWS / "02 Enhance a thermal image (SD-Turbo).json")
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


def test_a_sixty_fourth_of_a_kelvin_can_be_typed(frontend: Frontend) -> None:
    open_thermal(frontend)
    frontend.page.mouse.click(*place_of(frontend, "kelvin_per_count"))
    frontend.page.keyboard.press("Control+a")
    frontend.page.keyboard.type("0.015625")
    frontend.page.keyboard.press("Enter")
    assert thermal_widgets(frontend)["kelvin_per_count"] == 0.015625
    frontend.page.mouse.click(*place_of(frontend, "force_kelvin"))
    assert shown_record(frontend)["linear"]["scale"] == 0.015625


def test_frames_without_a_picture_format_are_uploaded(frontend: Frontend, tmp_path: Path) -> None:
    counts = np.arange(80 * 60, dtype=np.uint16).reshape(60, 80) + 1000
    path = tmp_path / "upload.npy"
    np.save(path, counts)
    open_thermal(frontend)
    with frontend.page.expect_file_chooser() as chooser:
        frontend.page.mouse.click(*place_of(frontend, "upload"))
    assert ".npy" in chooser.value.element.get_attribute("accept").split(",")
    chooser.value.set_files(path)
    frontend.page.wait_for_function(
        "() => app.graph.nodes.some(node => node.widgets.some(one => one.value === 'upload.npy'))"
    )
    record = shown_record(frontend)
    assert (record["file"], record["width"], record["highest"]) == ("upload.npy", 80, counts.max())
    frontend.screenshot("uploaded.png")
    frontend.check()


def test_files_are_dropped_onto_the_node(frontend: Frontend) -> None:
    open_thermal(frontend)
    drop = """([x, y, name]) => {
        const data = new DataTransfer()
        data.items.add(new File([new Uint8Array(9600)], name))
        const target = document.elementFromPoint(x, y)
        for (const kind of ["dragenter", "dragover", "drop"]) {
            const place = { clientX: x, clientY: y, bubbles: true, cancelable: true, dataTransfer: data }
            target.dispatchEvent(new DragEvent(kind, place))
        }
    }"""
    frontend.page.evaluate(drop, [*place_of(frontend, "mapping"), "dropped_80x60.raw"])
    frontend.page.wait_for_function(
        "() => app.graph.nodes.some(node => node.widgets.some(one => one.value === 'dropped_80x60.raw'))"
    )
    frontend.check()


def test_earlier_workflows_keep_their_values(frontend: Frontend) -> None:
    workflow = json.loads((WORKFLOWS / "04 Sixteen-bit radiometric.json").read_text(encoding="utf-8"))
    for node in workflow["nodes"]:
        if node["type"] == "HiDRA_LoadThermal":
            node["widgets_values"] = ["", "night", "percentile", 1.5, 4.0, 0.04, "640x512", "image"]
        if node["type"] == "HiDRA_SaveThermal":
            node["widgets_values"] = ["prefix", "PNG", False, True]
    frontend.load(workflow)
    (save,) = [node["id"] for node in workflow["nodes"] if node["type"] == "HiDRA_SaveThermal"]
    values = thermal_widgets(frontend)
    assert (values["sample"], values["kelvin_per_count"], values["raw_size"]) == ("night", 0.04, "640x512")
    assert (values["raw_order"], values["raw_offset"], values["crop"]) == ("auto", 0, "")
    assert (values["first_page"], values["page_count"], values["force_kelvin"]) == (1, 0, False)
    assert frontend.widgets(save)["unit"] == "counts"
