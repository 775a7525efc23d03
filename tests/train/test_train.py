"""The bi-level run on a small backbone: its data, its configuration, its counts, its strategies, its checkpoints."""

from __future__ import annotations

import dataclasses
import errno
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers import ROOT, reference
from helpers.thermal_files import fff, flir_jpeg, frame, tiff_pages
from PIL import Image

import hidra_core
from hidra_core import degradations, save_weights, scenes
from hidra_core.backbone import save_backbone
from hidra_core.evaluation import metrics
from hidra_core.thermal.readers import read_thermal
from train import run
from train.method import checkpoints, losses, model, trainer, validation
from train.method.config import Config, read_config
from train.method.data import DegradedFrames, list_images, load_images, source_odds
from train.method.validation import measure

PRESETS = {"composite": 0.5, "field": 0.5}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The reference backbone and weights as files, and a config of three iterations on them."""
    place = tmp_path_factory.mktemp("small")
    save_backbone(reference.make_backbone(), place / "backbone.safetensors", dtype=torch.float32)
    save_weights(reference.make_weights(), place / "weights.safetensors")
    config = {
        "model": {"backbone": str(place / "backbone.safetensors"), "init": str(place / "weights.safetensors")},
        "data": {"train": "scenes", "presets": {"composite": 1.0}, "crop": 64, "workers": 0},
        "loss": {"perceptual": "structure", "adversarial": "patch"},
        "solver": {"strategy": "bilevel", "iterations": 4, "warmup_iterations": 1, "period": 2, "pipelines": 2},
        "optimiser": {"lr": 1e-3, "lr_warmup": 0},
        "run": {"output": str(place / "run"), "dtype": "float32", "device": "cpu", "validation_images": 1},
    }
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    return {"config": place / "config.yaml", "backbone": place / "backbone.safetensors"}


@pytest.fixture(autouse=True)
def few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "rendered_scenes", lambda count, height, width: _scenes())


def _scenes() -> list[np.ndarray]:
    ramp = np.linspace(0, 255, 96)
    return [np.uint8((ramp[:, None] * (i + 1) / 4 + ramp) / 2) for i in range(4)]


def build(small: dict[str, Path], *overrides: str) -> trainer.Trainer:
    config = read_config(small["config"], list(overrides))
    config.run.output.mkdir(parents=True, exist_ok=True)
    return trainer.Trainer(config, run.pick_accelerator(config))


# ------------------------------------------------------------------------------------------------------- data


def test_unusable_images_are_skipped_and_reported(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert len(load_images(list_images(folder), 64)) == 3
    assert "1 of 5 images, unreadable" in caplog.text
    assert "1 of 5 images, smaller than 64 pixels" in caplog.text


def test_no_usable_image_is_an_error(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="smaller than 1000 pixels"):
        load_images(list_images(folder), 1000)
    with pytest.raises(FileNotFoundError, match="set data.train"):
        list_images(folder.parent / "nothing")
    texts = folder.parent / "texts"
    texts.mkdir()
    (texts / "notes.txt").write_text("no picture")
    with pytest.raises(FileNotFoundError, match="no images"):
        list_images(texts)


def test_lists_choose_images(folder: Path, tmp_path: Path) -> None:
    listing = tmp_path / "train.txt"
    listing.write_text("nested/2.png\n\nnested/0.png\n")
    assert [path.name for path in list_images(folder, listing)] == ["2.png", "0.png"]
    listing.write_text("nested/9.png\n")
    with pytest.raises(FileNotFoundError, match=r"9\.png"):
        list_images(folder, listing)


def test_sources_are_balanced() -> None:
    files = [Path(f"a_{i}.png") for i in range(9)] + [Path("b_0.png")] + [Path("c/0.png"), Path("d/0.png")]
    odds = source_odds(files)
    assert sum(odds[:9]) == pytest.approx(9**0.25)
    assert odds[9:] == [1, 1, 1]


def test_16_bit_images_are_stretched(tmp_path: Path) -> None:
    counts = np.linspace(7000, 8000, 64 * 64, dtype=np.uint16).reshape(64, 64)
    Image.fromarray(counts).save(tmp_path / "raw.png")
    ((_, image),) = load_images([tmp_path / "raw.png"], 64)
    assert image.dtype == np.uint8
    assert image.min() == 0
    assert image.max() == 255


def test_a_radiometric_jpeg_is_read_as_its_counts(tmp_path: Path) -> None:
    """And not as the colours of its preview, which have no relation to them here."""
    path = tmp_path / "camera.jpg"
    flir_jpeg(path, fff(frame(72, 96)), (96, 72))
    counts = read_thermal(path).counts[0].astype(float)
    ((_, image),) = load_images(list_images(tmp_path), 64)
    assert np.corrcoef(image.ravel(), counts.ravel())[0, 1] > 0.999
    Image.fromarray(counts.astype(np.uint16)).save(tmp_path / "the same.png")
    (_, image), (_, same) = load_images(list_images(tmp_path), 64)
    assert np.array_equal(image, same)


def test_all_files_that_the_readers_know_are_listed_and_pages_are_images(tmp_path: Path) -> None:
    pages = [frame(72, 96, seed) for seed in range(3)]
    tiff_pages(tmp_path / "pages.tiff", pages)
    pages[0].astype("<u2").tofile(tmp_path / "raw_96x72.raw")
    (tmp_path / "camera.fff").write_bytes(fff(pages[1]))
    files = list_images(tmp_path)
    assert [path.name for path in files] == ["camera.fff", "pages.tiff", "raw_96x72.raw"]
    images = load_images(files, 64)
    assert [path.name for path, _ in images] == ["camera.fff", *["pages.tiff"] * 3, "raw_96x72.raw"]
    assert {image.shape for _, image in images} == {(72, 96)}
    assert len(source_odds([path for path, _ in images])) == 5


@pytest.mark.parametrize("frames", [None, [(72, 80)]])
def test_samples_depend_on_seed_and_index_alone(folder: Path, frames: list[tuple[int, int]] | None) -> None:
    images = [image for _, image in load_images(list_images(folder), 72)]
    first, second = (DegradedFrames(images, PRESETS, frames, 64, 1, 10, tone=0.3) for _ in range(2))
    item = first[7]
    assert item["degraded"].shape == item["clean"].shape == (1, 64, 64)
    assert item["frame"].shape == (1, *(frames[0] if frames else (64, 64)))
    for key, value in second[7].items():
        assert torch.equal(item[key], value)
        assert -1 <= value.min() <= value.max() <= 1 or key == "factors"
    assert not torch.equal(item["clean"], first[8]["clean"])
    assert not torch.equal(item["clean"], DegradedFrames(images, PRESETS, frames, 64, 2, 10)[7]["clean"])


def flat_frames(count: int, **options: int) -> DegradedFrames:
    """Grey squares, whose mean tells the pipeline; every second iteration needs D_val."""
    flat = [np.full((64, 64), 128, np.uint8)]
    upper = {"upper": lambda iteration: iteration % 2 == 0}
    return DegradedFrames(flat, {"mild": 1.0}, None, 64, 0, count, batch=2, pipelines=3, **options, **upper)


def test_the_upper_levels_pipelines_are_the_batchs() -> None:
    dataset = flat_frames(8)
    assert "val_degraded" not in dataset[0]
    assert "val_degraded" not in dataset[1]
    one, two = dataset[2]["val_degraded"], dataset[3]["val_degraded"]
    assert one.shape == (3, 1, 64, 64)
    # the same contrast for both images, in each pipeline another, and the noise is each image's own
    torch.testing.assert_close(one.mean((1, 2, 3)), two.mean((1, 2, 3)), rtol=0, atol=0.03)
    assert one.mean((1, 2, 3)).std() > 0.01
    assert not torch.equal(one, two)


def test_all_batches_of_an_iteration_share_the_upper_levels_pipelines() -> None:
    """Micro-batches, and batches of several processes, are parts of one batch."""
    dataset = flat_frames(16, batches_per_iteration=2)
    assert not any("val_degraded" in dataset[i] for i in range(4))
    means = torch.stack([dataset[i]["val_degraded"].mean((1, 2, 3)) for i in range(4, 8)])
    torch.testing.assert_close(means, means[:1].expand(4, -1), rtol=0, atol=0.03)
    assert means[0].std() > 0.01


def test_micro_batches_are_the_parts_of_a_larger_batch(small: dict[str, Path], tmp_path: Path) -> None:
    options = [f"run.output={tmp_path}", "solver.warmup_iterations=0", "solver.period=1", "solver.iterations=2"]
    whole = build(small, *options, "run.batch=4").batches()
    parts = build(small, *options, "run.batch=2", "run.accumulation=2").batches()
    large, small_ones = list(whole), list(parts)
    assert (len(large), len(small_ones)) == (2, 4)
    for number, batch in enumerate(large):
        assert "val_degraded" in batch
        for key, tensor in batch.items():
            assert torch.equal(tensor, torch.cat([part[key] for part in small_ones[2 * number : 2 * number + 2]])), key
    pickle.dumps(whole.dataset)  # workers that are spawned get it so


# ------------------------------------------------------------------------------------------------------ config


@pytest.mark.parametrize("name", ["toy", "hidra-tiny", "sd-turbo"])
def test_the_projects_configs_are_valid(name: str) -> None:
    assert isinstance(read_config(name, []), Config)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("solver.stategy=joint", "unknown key 'solver.stategy'; known: strategy"),
        ("solvers.period=1", "unknown key 'solvers'; known: model, data"),
        ("solver.strategy=sideways", "solver.strategy.*'bilevel', 'alternating', 'joint' or 'lora'.*sideways"),
        ("solver.period=0", "solver.period.*greater than or equal to 1"),
        ("solver.pipelines=0", "solver.pipelines.*greater than or equal to 1"),
        ("data.presets={fog: 1}", "unknown degradation preset 'fog'.*composite"),
        ("data.crop=100", "data.crop.*multiple of 64"),
        ("run.dtype=int8", "run.dtype.*'float32' or 'bfloat16'"),
        ("period=3", "write section.key=value"),
        ("run..seed=3", "write section.key=value"),
        ("run.seed={", "its value is not YAML"),
        ("run.seed.value=3", "cannot override 'run.seed.value=3'.*no dictionary 'seed'"),
        ("data.presets.fog=1", "no 'data.presets.fog'; known: fpn"),
    ],
)
def test_bad_values_are_named(override: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        read_config("toy", [override])


def test_an_override_may_lead_into_a_dictionary() -> None:
    assert read_config("toy", ["data.presets.fpn=0.5"]).data.presets == {"fpn": 0.5}


def test_an_unknown_config_lists_those_there_are() -> None:
    with pytest.raises(FileNotFoundError, match="of hidra-tiny, sd-turbo, toy$"):
        read_config("sd-turbos", [])


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["data.train=/nowhere"], "no images.*below /nowhere"),
        (["loss.adversarial=dino"], "loss.dino names no folder.*facebook/dino-vitb16.*patch"),
        (["loss.adversarial=dino", "loss.dino=/nowhere"], "'config.json' in /nowhere"),
        (["model.backbone=/nowhere.safetensors"], "/nowhere.safetensors"),
        (["model.init=/nowhere.safetensors"], "/nowhere.safetensors"),
        (["model.unet_rank=4"], "ranks 32.*asks for 4"),
    ],
)
def test_what_is_missing_is_said_before_any_work(
    small: dict[str, Path], tmp_path: Path, overrides: list[str], expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "run"
    assert run.main(["--config", str(small["config"]), f"run.output={output}", *overrides]) == 1
    assert re.search(expected, caplog.text)
    assert not output.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA GPU is here")
def test_a_missing_gpu_is_said_before_any_work(small: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    assert run.main(["--config", str(small["config"]), "run.device=cuda"]) == 1
    assert "no CUDA GPU here: set run.device=cpu" in caplog.text


def test_a_backbone_without_text_encoder_needs_weights_that_have_the_embedding(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no text_encoder/config.json in .*; or set model.init to a weights"):
        model._empty_prompt(str(tmp_path))


def test_missing_vgg_names_file_folder_and_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("lpips")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    message = losses.missing_vgg()
    assert losses.VGG_FILE in message
    assert str(tmp_path / "checkpoints") in message
    assert "structure" in message
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / losses.VGG_FILE).touch()
    assert losses.missing_vgg() is None


# ----------------------------------------------------------------------------------------- iterations, strategies


def test_image_forwards_of_an_iteration(small: dict[str, Path], tmp_path: Path) -> None:
    """Batch 2, M = 2: 8 where both levels move, 2 in an ordinary one; counted on the UNet itself."""
    training = build(small, f"run.output={tmp_path}", "run.batch=2")
    counted = []
    training.enhancer.unet.register_forward_pre_hook(lambda _, args: counted.append(args[0].shape[0]))
    totals = []
    for batch in training.batches():
        counted.clear()
        values = training.step([batch])
        totals.append((sum(counted), "upper/ratio" in values))
    assert totals == [(2, False), (8, True), (2, False), (8, True)]
    assert training.enhancer.images_enhanced == 20


@pytest.mark.parametrize("strategy", ["bilevel", "alternating", "joint", "lora"])
@pytest.mark.parametrize("mia", [True, False])
def test_strategies(small: dict[str, Path], tmp_path: Path, strategy: str, mia: bool) -> None:
    options = ["--config", str(small["config"]), f"run.output={tmp_path}", f"solver.strategy={strategy}"]
    options += ["model.fresh=true", "model.sigma=identity", "run.batch=1", "solver.iterations=3"]
    assert run.main(options if mia else [*options, "--no-mia"]) == 0
    weights = hidra_core.load_weights(tmp_path / "weights.safetensors")
    assert weights.training["strategy"] == strategy
    assert (weights.estimator.attention is not None) == mia
    backbone = hidra_core.load_backbone(small["backbone"], device="cpu", dtype="fp32")
    image = torch.rand(1, 64, 64, 1)
    outputs = []
    for seed in (0, 1):
        vectors = torch.randn(1, 256, generator=torch.Generator().manual_seed(seed))
        degradation = dataclasses.replace(hidra_core.estimate(image, weights), vectors=vectors)
        outputs.append(hidra_core.enhance(image, backbone, degradation))
    assert torch.equal(*outputs) == (strategy == "lora")


LINEAR = ("optimiser.eps=1", "optimiser.lr=0.1", "optimiser.weight_decay=0")
"""Adam's steps in proportion to the gradient; at its usual eps the first are its sign, and rounding decides some."""


def test_accumulation_equals_a_larger_batch(small: dict[str, Path], tmp_path: Path) -> None:
    # joint, as these random networks are chaotic on some images of D_val; that those are the same is tested above
    options = ["loss.adversarial=none", "solver.strategy=joint", "solver.iterations=1", *LINEAR]
    ends = []
    for name, batch, accumulation in (("large", 4, 1), ("accumulated", 2, 2)):
        sizes = [f"run.batch={batch}", f"run.accumulation={accumulation}", f"run.output={tmp_path / name}"]
        assert run.main(["--config", str(small["config"]), *options, *sizes]) == 0
        ends.append(checkpoints.load_checkpoint(tmp_path / name, {})["trained"])
    assert_moved_alike(small, *ends)


def test_two_processes_equal_two_micro_batches(small: dict[str, Path], tmp_path: Path) -> None:
    """Bi-level, launched as users launch it on many GPUs; here ``run.device`` is cpu, and they talk through gloo."""
    # the patch discriminator's spectral norm counts its calls, of which a process here has half as many
    options = ["--config", str(small["config"]), "loss.adversarial=none", "run.batch=1", *LINEAR]
    # these random networks are chaotic on some images of D_val, where rounding decides: noise of 1e-6 changes the worst
    # image's gradient by 52, 8 and 4 % with seeds 0, 1 and 2, most others' by 0.1 % or less
    options += ["solver.warmup_iterations=0", "solver.period=1", "solver.iterations=1", "run.seed=2"]
    two = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1")
    runs = {
        "processes": ([], (*two, "--mixed_precision", "no", "--dynamo_backend", "no")),
        "accumulated": (["run.accumulation=2"], ()),
    }
    ends = []
    for name, (more, launcher) in runs.items():
        arguments = [*options, *more, f"run.output={tmp_path / name}"]
        assert launch(tmp_path / "program.py", arguments, launcher).wait(300) == 0
        ends.append(checkpoints.load_checkpoint(tmp_path / name, {})["trained"])
        assert hidra_core.load_weights(tmp_path / name / "weights.safetensors").training["batch"] == 2
    assert_moved_alike(small, *ends)


def assert_moved_alike(small: dict[str, Path], one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    """Two runs from the same start went the same way."""
    start = {name: p.detach() for name, p in build(small).enhancer.trained().items()}
    moved = [torch.cat([(run[name] - start[name]).flatten() for name in start]) for run in (one, two)]
    assert moved[0].norm() > 0
    # one step of noise prediction at t = 999 multiplies rounding by 14.6: gradients agree to some 1e-3
    assert (moved[0] - moved[1]).norm() < 1e-2 * moved[0].norm()


def test_the_average_of_the_weights(small: dict[str, Path], tmp_path: Path) -> None:
    training = build(small, f"run.output={tmp_path}", "run.ema=0.75", "run.batch=1")
    name, parameter = next(iter(training.enhancer.trained().items()))
    expected = parameter.detach().clone()
    for batch, _ in zip(training.batches(), range(3), strict=False):
        training.step([batch])
        expected = 0.75 * expected + 0.25 * parameter.detach()
    last = parameter.detach().clone()
    assert not torch.allclose(expected, last, rtol=0, atol=1e-5)
    with training.averaged():
        torch.testing.assert_close(parameter.detach(), expected)
    assert torch.equal(parameter.detach(), last)


# -------------------------------------------------------------------------------------------------- validation


def test_validation_reports_the_numbers_of_the_evaluation() -> None:
    record = degradations.sample("composite", torch.Generator().manual_seed(4))
    clean = torch.from_numpy(scenes.render("street", 128, 160, 3))[None, None]
    image, clean = degradations.apply(clean, record) * 2 - 1, clean * 2 - 1
    output, reference = (metrics.to_8_bit(part[0, 0].numpy() / 2 + 0.5) for part in (image, clean))
    scores = validation._quality(image, clean, None)
    assert scores == {"psnr": metrics.psnr(output, reference), "ssim": metrics.ssim(output, reference)}
    # the loss has another window, hence another value
    assert abs(1 - losses.structural_dissimilarity(image, clean).item() - scores["ssim"]) > 0.01
    assert validation._quality(clean, clean, None) == {"psnr": validation.PERFECT, "ssim": pytest.approx(1)}


def test_lpips_is_measured_where_it_can_be(small: dict[str, Path], tmp_path: Path) -> None:
    training = build(small, f"run.output={tmp_path}")
    assert training.lpips is None or losses.missing_vgg() is None
    training.lpips = lambda output, target: (output - target).abs().mean()  # in place of the network
    scores, _ = measure(training.enhancer, _scenes()[:2], PRESETS, torch.device("cpu"), training.lpips)
    assert 0 < scores["lpips"] != scores["lpips_degraded"] > 0
    assert "lpips" not in measure(training.enhancer, _scenes()[:1], PRESETS, torch.device("cpu"))[0]


# -------------------------------------------------------------------------------------- checkpoints and resuming


def final_weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "weights.safetensors")


PROGRAM = """
import sys
from pathlib import Path
sys.path[:0] = {folders!r}
import torch
torch.set_num_threads(1)
from train import run
from train.method import trainer
from test_train import _scenes
trainer.rendered_scenes = lambda *_: _scenes()
sys.exit(run.main(sys.argv[1:]))
"""


def launch(program: Path, arguments: list[str], launcher: tuple[str, ...] = ()) -> subprocess.Popen:
    folders = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "train")]
    program.write_text(PROGRAM.format(folders=folders))
    return subprocess.Popen([sys.executable, *launcher, str(program), *arguments], stderr=subprocess.DEVNULL)


def test_killed_and_resumed_equals_uninterrupted(small: dict[str, Path], tmp_path: Path) -> None:
    common = ["--config", str(small["config"]), "run.batch=1", "run.checkpoint_every=2", "run.log_every=1"]
    common += ["solver.iterations=8", "run.ema=0.5", "run.validate_every=100"]
    program = tmp_path / "program.py"
    assert launch(program, [*common, f"run.output={tmp_path / 'whole'}"]).wait(300) == 0
    parts = tmp_path / "parts"
    process = launch(program, [*common, f"run.output={parts}"])
    while not checkpoints.checkpoints(parts) and process.poll() is None:
        time.sleep(0.01)
    time.sleep(np.random.default_rng().uniform(0, 0.5))  # somewhere in the following iterations
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (parts / "weights.safetensors").exists()
    assert launch(program, [*common, f"run.output={parts}"]).wait(300) == 0
    whole, resumed = final_weights(tmp_path / "whole"), final_weights(parts)
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    states = [checkpoints.load_checkpoint(folder, {}) for folder in (tmp_path / "whole", parts)]
    for key, tensor in states[0]["trained"].items():
        assert torch.equal(tensor, states[1]["trained"][key])


def test_interrupt_saves_and_exits(small: dict[str, Path], tmp_path: Path) -> None:
    options = ["--config", str(small["config"]), f"run.output={tmp_path}", "solver.iterations=10000"]
    process = launch(tmp_path / "program.py", options)
    while not (tmp_path / "tensorboard").exists() and process.poll() is None:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert len(checkpoints.checkpoints(tmp_path)) == 1


def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints.save_checkpoint(tmp_path, 1, {"config": {}, "trained": {"a": torch.ones(3)}}, keep=2)

    def full(state: dict, path: Path) -> None:
        Path(path).write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save_checkpoint(tmp_path, 2, {}, keep=2)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-0000001.pt"]
    assert torch.equal(checkpoints.load_checkpoint(tmp_path, {})["trained"]["a"], torch.ones(3))


def test_old_checkpoints_go(tmp_path: Path) -> None:
    for iteration in (5, 10, 15):
        checkpoints.save_checkpoint(tmp_path, iteration, {}, keep=2)
    assert [path.name for path in checkpoints.checkpoints(tmp_path)] == [
        "checkpoint-0000010.pt",
        "checkpoint-0000015.pt",
    ]


def test_another_configs_checkpoint_is_refused(small: dict[str, Path], tmp_path: Path) -> None:
    options = ["--config", str(small["config"]), f"run.output={tmp_path}", "run.batch=1", "solver.iterations=1"]
    assert run.main(options) == 0
    training = build(small, f"run.output={tmp_path}", "run.batch=1", "solver.iterations=1", "solver.period=3")
    with pytest.raises(ValueError, match=r"solver.period = 2, this run has 3.*run.output"):
        training.resume()
    assert run.main([*options, "solver.period=3"]) == 1
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["solver"]["period"] == 2  # of the run that is there


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-0000005.pt").write_bytes(b"half of it")
    with pytest.raises(ValueError, match=r"cannot read .*checkpoint-0000005\.pt .*Remove it"):
        checkpoints.load_checkpoint(tmp_path, {})


def test_validation_best_and_sheet_are_written(small: dict[str, Path], tmp_path: Path) -> None:
    options = ["--config", str(small["config"]), f"run.output={tmp_path}", "run.batch=1", "solver.iterations=1"]
    assert run.main(options) == 0
    assert {"best.safetensors", "weights.safetensors", "samples.png", "config.yaml"} <= {
        path.name for path in tmp_path.iterdir()
    }
    assert Image.open(tmp_path / "samples.png").size[0] == 3 * 64
    assert list((tmp_path / "tensorboard").iterdir())
