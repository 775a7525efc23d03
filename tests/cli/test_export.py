"""Graphs in ONNX: the same numbers as PyTorch at any size, in every program that runs them, and what they refuse."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import clip_files, reference
from PIL import Image

from hidra_core import HIDRA_TINY, DegradationVectors, DiffusersBackbone, Weights, enhance, estimate
from hidra_core.adapter import Adapter
from hidra_core.backbone import build_diffusers
from hidra_core.export.tracing import adaptive_avg_pool2d, resampling, traceable
from hidra_core.readouts import Corrector, CorrectorNetwork, Restraint
from hidra_core.readouts.corrector import small_view
from hidra_core.vectors import save_degradation

if TYPE_CHECKING:
    from pathlib import Path

UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 1,
    "block_out_channels": [8, 16],
    "attention_head_dim": [1, 2],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "cross_attention_dim": 8,
    "norm_num_groups": 2,
    "use_linear_projection": True,
}
VAE = {
    "latent_channels": 4,
    "layers_per_block": 1,
    "block_out_channels": [8, 8],
    "norm_num_groups": 2,
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
}
TOLERANCE = 2e-3


@pytest.fixture(scope="module")
def small() -> tuple[DiffusersBackbone, Weights]:
    """A backbone with few layers, and weights with every part that a file may have; all random."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet, vae = build_diffusers(UNET, VAE)
        adapter = Adapter.for_networks(unet, vae, unet_rank=4, vae_rank=4)
        for layers in adapter.layers.values():
            for up in layers.up:
                torch.nn.init.normal_(up, std=0.2)
        for head in adapter.heads.values():
            for linear in (head.degradation, head.block, head.fuse):
                torch.nn.init.kaiming_normal_(linear.weight)
        network = CorrectorNetwork(8)
        torch.nn.init.normal_(network.field.weight, std=0.05)
        restraint = Restraint(torch.randn(3, 256) * 0.3, torch.randn(3), 24.0)
    estimator = reference.make_small_dem()
    for module in (unet, vae, adapter, estimator):
        module.eval().requires_grad_(False)
    backbone = DiffusersBackbone(unet, vae, name="small", prediction_type="v_prediction")
    weights = Weights(estimator, adapter, torch.randn(1, 77, 8), HIDRA_TINY, restraint=restraint)
    weights.corrector = Corrector(network, 6.0, {"images": 3})
    return backbone, weights


@pytest.fixture(scope="module", autouse=True)
def _not_simplified():
    """Graphs are written in half the time."""
    from hidra_core.export import writing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "SIMPLIFIED", False)
        yield


@pytest.fixture(scope="module")
def graph(small, tmp_path_factory) -> Path:
    """The whole way as a graph."""
    pytest.importorskip("onnxscript", reason="export needs onnx and onnxscript")
    pytest.importorskip("onnxruntime", reason="graphs are compared in ONNX Runtime")
    from hidra_core.export import export_onnx

    backbone, weights = small
    exported = export_onnx(tmp_path_factory.mktemp("graph") / "small.onnx", weights, backbone)
    assert exported.files == (exported.path,)
    assert exported.difference is not None
    assert exported.difference <= TOLERANCE
    return exported.path


def pages(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Noisy pages, ``[B, H, W, 1]``."""
    generator = torch.Generator().manual_seed(seed)
    coarse = F.interpolate(torch.rand(count, 1, 5, 6, generator=generator), (height, width), mode="bilinear")
    noisy = 0.2 + 0.5 * coarse + 0.05 * torch.randn(coarse.shape, generator=generator)
    return noisy.clamp(0, 1).movedim(1, -1)


# --- the parts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(5, 7), (16, 16), (45, 36), (2, 40)])
def test_resampling_is_that_of_pytorch(height: int, width: int) -> None:
    grid = torch.rand(1, 3, 16, 16)
    expected = F.interpolate(grid, (height, width), mode="bicubic", antialias=True)
    rows, columns = resampling(16, height, grid), resampling(16, width, grid)
    torch.testing.assert_close(rows @ grid @ columns.T, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(33, 40), (77, 111), (512, 640), (20, 25)])
def test_averaging_is_that_of_pytorch(height: int, width: int) -> None:
    image = torch.rand(1, 2, height, width)
    image[:, 1] = 1  # white, to the bit
    expected = F.adaptive_avg_pool2d(image, (32, 40))
    found = adaptive_avg_pool2d(image, (32, 40))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert torch.equal(found[:, 1], expected[:, 1])


@pytest.mark.parametrize("noise", [0.0, 1e-4, 1e-2])
def test_corrector_sees_in_a_graph_what_it_sees_in_pytorch(noise: float) -> None:
    """Where there is little noise too: there a difference of squares would be rounding, of each program its own."""
    page = pages(1, 333, 511).movedim(-1, 1)
    smooth = F.interpolate(F.avg_pool2d(page, 64), page.shape[-2:], mode="nearest")
    image = (smooth + noise * torch.randn(page.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    expected = small_view(image)
    with traceable(None):
        torch.testing.assert_close(small_view(image), expected, rtol=0, atol=1e-5)


# --- the graph -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_whole_graph_gives_what_pytorch_gives(graph: Path, small, runtime: str) -> None:
    pytest.importorskip("openvino" if runtime == "openvino" else "onnxruntime")
    from hidra_core.export import open_engine

    backbone, weights = small
    engine = open_engine(graph, runtime, device="cpu")
    for count, height, width in ((1, 192, 256), (3, 64, 64), (1, 33, 40), (2, 127, 65)):
        images = pages(count, height, width)
        degradation = estimate(images, weights)
        enhanced, vectors = engine.run(images.movedim(-1, 1))
        expected = enhance(images, backbone, degradation)
        assert (expected - images).abs().max() > 0.1
        torch.testing.assert_close(enhanced.movedim(1, -1), expected, rtol=0, atol=TOLERANCE)
        torch.testing.assert_close(vectors, degradation.vectors, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_dem_may_judge_another_image_than_is_enhanced(graph: Path, small, runtime: str) -> None:
    pytest.importorskip("openvino" if runtime == "openvino" else "onnxruntime")
    from hidra_core.export import open_engine

    backbone, weights = small
    page, given = pages(1, 70, 90)[0], pages(1, 70, 90, seed=1)[0]
    expected = enhance(page, backbone, estimate(given, weights))
    enhanced = open_engine(graph, runtime, device="cpu").enhance(page, given)
    torch.testing.assert_close(enhanced, expected, rtol=0, atol=TOLERANCE)
    assert (enhance(page, backbone, estimate(page, weights)) - expected).abs().max() > 2 * TOLERANCE


def test_graph_says_what_it_is(graph: Path, small) -> None:
    from hidra_core.export import open_engine

    engine = open_engine(graph, "onnx", device="cpu")
    metadata = {key.removeprefix("weights."): text for key, text in engine.metadata.items() if key[:8] == "weights."}
    assert metadata == small[1].metadata
    assert engine.metadata["hidra.opset"] == "18"
    assert engine.metadata["hidra.dtype"] == "fp32"
    assert (engine.has_dem, engine.has_restraint, engine.has_corrector, engine.strength) == (True, True, True, 1.0)


@pytest.mark.parametrize("size", [(32, 64), (64, 1025)])
def test_sizes_that_a_graph_is_not_made_for_are_refused(graph: Path, size: tuple[int, int]) -> None:
    from hidra_core.export import open_engine

    with pytest.raises(ValueError, match="from 33 to 1024 pixels"):
        open_engine(graph, "onnx", device="cpu").enhance(pages(1, *size)[0])


def test_folded_graph(small, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="export needs onnx and onnxscript")
    pytest.importorskip("onnxruntime", reason="graphs are compared in ONNX Runtime")
    from hidra_core.export import export_onnx, open_engine

    backbone, weights = small
    degradation = DegradationVectors(torch.rand(1, 256), weights)
    options = {"strength": 0.8, "corrector": False}
    path = export_onnx(tmp_path / "folded.onnx", weights, backbone, degradation=degradation, **options).path
    engine = open_engine(path, "onnx", device="cpu")
    images = pages(2, 70, 90)
    enhanced, vectors = engine.run(images.movedim(-1, 1))
    assert vectors is None
    expected = enhance(images, backbone, degradation, **options)
    torch.testing.assert_close(enhanced.movedim(1, -1), expected, rtol=0, atol=TOLERANCE)
    assert (enhance(images, backbone, degradation) - expected).abs().max() > 4e-2
    stored = json.loads(engine.metadata["hidra.vector"])
    torch.testing.assert_close(torch.tensor(stored), degradation.vectors[0])
    assert (engine.has_dem, engine.has_corrector, engine.metadata["hidra.dtype"]) == (False, False, "fp32")


# --- the command -----------------------------------------------------------------------------------------------------


def test_folder_by_a_graph_is_the_folder_by_pytorch(hidra, graph: Path, small, monkeypatch, folder: Path) -> None:
    from hidra_core import backbone, weights

    for name in ("clear", "stuck"):  # what the sensor stage finds, the DEM still sees
        pixels = np.rint(pages(1, 72, 96)[0, :, :, 0].numpy() * 255).astype(np.uint8)
        pixels[20, 30] = 255 if name == "stuck" else pixels[20, 30]
        Image.fromarray(pixels).save(folder / f"{name}.png")
    (folder / "nested" / "broken.png").unlink()
    (folder / "nested" / "small.png").unlink()
    monkeypatch.setattr(backbone, "load_backbone", lambda *_, **__: small[0])
    monkeypatch.setattr(weights, "load_weights", lambda *_, **__: small[1])
    torch_out, graph_out = folder.parent / "torch", folder.parent / "graph"
    assert hidra("enhance", folder, "-o", torch_out, "--dtype", "fp32", "--device", "cpu")[0] == 0

    def fail(*_, **__):
        raise AssertionError("a model was loaded beside the graph")

    monkeypatch.setattr(backbone, "load_backbone", fail)
    monkeypatch.setattr(weights, "load_weights", fail)
    assert hidra("enhance", folder, "-o", graph_out, "--engine", "onnx", "--graph", graph)[0] == 0
    files = [path.relative_to(torch_out) for path in sorted(torch_out.rglob("*.png"))]
    assert len(files) == 5
    for file in files:
        expected, found = (np.asarray(Image.open(out / file)).astype(int) for out in (torch_out, graph_out))
        assert np.abs(expected - found).max() <= 1, file


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--engine", "onnx"], "--graph FILE"),
        (["--graph", "GRAPH"], "--engine onnx and --engine openvino"),
        (["--engine", "onnx", "--graph", "missing.onnx"], "missing.onnx: no such file"),
        (["--engine", "onnx", "--graph", "GRAPH", "--strength", "0.5"], "--strength"),
        (["--engine", "onnx", "--graph", "GRAPH", "--no-corrector"], "--no-corrector"),
        (["--engine", "onnx", "--graph", "GRAPH", "--upscale", "2"], "--upscale"),
        (["--engine", "onnx", "--graph", "GRAPH", "--batch", "2"], "--batch is for PyTorch"),
        (["--engine", "onnx", "--graph", "GRAPH", "--sensor", "only"], "--engine"),
    ],
)
def test_options_that_do_not_go_together(hidra, folder: Path, tmp_path: Path, options: list[str], words: str) -> None:
    graph = tmp_path / "graph.onnx"
    graph.write_bytes(b"never read")
    options = [str(graph) if option == "GRAPH" else option for option in options]
    code, _, said = hidra("enhance", folder, "-o", tmp_path / "out", *options)
    assert (code, words in said) == (2, True), said
    assert not (tmp_path / "out").exists()


def test_clips_and_radiometric_mode_are_refused(hidra, graph: Path, folder: Path, tmp_path: Path) -> None:
    engine = ("--engine", "onnx", "--graph", graph)
    clip_files.write_clip(tmp_path / "clip.mp4", clip_files.static_scene(3))
    code, _, said = hidra("enhance", tmp_path / "clip.mp4", "-o", tmp_path / "out", *engine)
    assert (code, "--graph is for images and counts" in said) == (2, True), said
    code, _, said = hidra("enhance", folder, "-o", tmp_path / "out", *engine, "--radiometric")
    assert (code, "export one with --no-corrector" in said) == (2, True), said


def test_what_is_no_graph_is_refused(hidra, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "graph.onnx").write_bytes(b"not ONNX")
    code, _, said = hidra(
        "enhance", folder, "-o", tmp_path / "out", "--engine", "onnx", "--graph", tmp_path / "graph.onnx"
    )
    assert (code, "is not a graph that ONNX Runtime can load" in said) == (1, True), said


def test_export_command_checks_before_it_loads(hidra_unloaded, folder: Path, tmp_path: Path, small) -> None:
    degradation = DegradationVectors(torch.rand(1, 256), small[1])
    save_degradation(degradation, tmp_path / "saved.safetensors")
    for arguments, words in (
        (["-o", tmp_path / "graph.pt"], "graphs are written as .onnx"),
        (["-o", tmp_path / "nowhere" / "graph.onnx"], "no folder"),
        ([folder, "--degradation", tmp_path / "saved.safetensors", "-o", tmp_path / "g.onnx"], "give either images"),
        (["-o", tmp_path / "graph.onnx", "--strength", "3"], "strength must be from 0 to 2"),
    ):
        code, _, said = hidra_unloaded("export", *arguments)
        assert (code, words in said) == (2, True), said
