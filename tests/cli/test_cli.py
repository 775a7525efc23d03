"""The command line: what it writes, what it says, and its exit codes."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT, reference
from helpers.commands import HEIGHT, WIDTH, files, pixels, run_program, save_picture, truncate
from PIL import Image
from safetensors.torch import save_file

from hidra_core import Weights, estimate, load_weights, save_weights
from hidra_core.adapter import NETWORKS
from hidra_core.backbone import SD_TURBO_SHAPES, save_backbone
from hidra_core.convert import _ADAPTER_NAME, _DEM_PARTS
from hidra_core.images import read_image, stretch

# --- enhance ---------------------------------------------------------------------------------------------------------


def test_enhance_keeps_names_and_kinds_and_one_bad_file_stops_nothing(hidra, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "deep" / "out"
    kinds = {"a.png": "L", "b.png": "I;16", "sub/c.jpg": "RGB", "sub/d.png": "RGBA"}
    for seed, (name, mode) in enumerate(kinds.items()):
        save_picture(folder / name, mode, seed)
    truncate(save_picture(folder / "broken.png"))
    Image.fromarray(np.full((HEIGHT, WIDTH), np.nan, np.float32)).save(folder / "nan.tiff")

    code, out_text, err_text = hidra("enhance", folder, "--output", out, "--device", "cpu")

    assert (code, out_text) == (1, "4 enhanced, 2 failed\n")
    assert [line.split()[0] for line in err_text.splitlines()] == ["1/6", "2/6", "hidra:", "hidra:", "5/6", "6/6"]
    assert "broken.png is damaged" in err_text
    assert "nan.tiff" in err_text
    assert files(out) == sorted(kinds)
    for name, mode in kinds.items():
        with Image.open(out / name) as image:
            assert (image.mode, image.size) == (mode, (WIDTH, HEIGHT))
        assert not np.array_equal(pixels(out / name), pixels(folder / name))
    assert np.array_equal(pixels(out / "sub/d.png")[..., 3], pixels(folder / "sub/d.png")[..., 3])
    counts = pixels(out / "b.png")
    before = pixels(folder / "b.png")
    assert before.min() <= counts.min() < counts.max() <= before.max()


def test_enhance_options_reach_the_result(hidra, tmp_path):
    save_picture(tmp_path / "in" / "2.png", "I;16")
    save_picture(tmp_path / "in" / "other.jpg")
    out = tmp_path / "out"

    code, out_text, err_text = hidra(
        *("enhance", tmp_path / "in" / "*.png", "-o", out, "--upscale", 2, "--compare", "--format", "tiff"),
        *("--strength", 0.5, "--tile", 256),
    )

    assert (code, out_text, err_text) == (0, "1 enhanced, 0 failed\n", "")
    assert files(out) == ["2-compare.png", "2.tiff"]
    assert pixels(out / "2.tiff").shape == (2 * HEIGHT, 2 * WIDTH)
    assert pixels(out / "2.tiff").dtype == np.uint16
    comparison = pixels(out / "2-compare.png")
    assert comparison.shape[1] > 2 * 2 * WIDTH
    assert comparison[-2 * HEIGHT :, : 2 * WIDTH].std() > 30, "16 bits are stretched for display"


def test_enhance_as_a_program(tmp_path):
    save_picture(tmp_path / "in" / "a.png")
    done = run_program("enhance", tmp_path / "in", "--output", tmp_path / "out", "--dtype", "fp32")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1 enhanced, 0 failed"
    assert files(tmp_path / "out") == ["a.png"]


def test_enhance_skips_what_exists_unless_told(hidra, tmp_path):
    save_picture(tmp_path / "in" / "a.png")
    old = tmp_path / "out" / "a.png"
    old.parent.mkdir()
    old.write_bytes(b"kept")

    code, out_text, err_text = hidra("enhance", tmp_path / "in", "--output", tmp_path / "out")
    assert (code, out_text) == (0, "0 enhanced, 0 failed, 1 skipped\n")
    assert "--overwrite" in err_text
    assert old.read_bytes() == b"kept"

    assert hidra("enhance", tmp_path / "in", "-o", tmp_path / "out", "--overwrite", "--quiet") == (0, "", "")
    assert pixels(old).shape == (HEIGHT, WIDTH)


def test_enhance_never_replaces_an_input(hidra_unloaded, tmp_path):
    a = save_picture(tmp_path / "a.png")
    before = a.read_bytes()
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    for out in (tmp_path, tmp_path / "link"):
        code, _, err_text = hidra_unloaded("enhance", a, "--output", out, "--overwrite")
        assert code == 2
        assert "would overwrite the input" in err_text
    # a comparison could hit one as well
    save_picture(tmp_path / "out" / "a-compare.png")
    code, _, err_text = hidra_unloaded(
        "enhance", a, tmp_path / "out" / "a-compare.png", "--output", tmp_path / "out", "--compare"
    )
    assert code == 2
    assert a.read_bytes() == before


def test_enhance_does_not_take_results_for_inputs(hidra, tmp_path):
    save_picture(tmp_path / "a.png")
    save_picture(tmp_path / "out" / "old.png")
    assert hidra("enhance", tmp_path, "--output", tmp_path / "out")[1] == "1 enhanced, 0 failed\n"
    assert files(tmp_path) == ["a.png", "out/a.png", "out/old.png"]


@pytest.mark.parametrize(
    "options",
    [
        ("--strength", "2.5"),
        ("--strength", "nan"),
        ("--strength", "much"),
        ("--upscale", "5"),
        ("--tile", "100"),
        ("--tile", "big"),
        ("--dtype", "fp8"),
        ("--device", "toaster"),
        ("--format", "gif"),
        ("--weights", "missing.safetensors"),
        ("--backbone", "missing"),
        ("--dem-backbone", "missing"),
        ("missing.png",),
        ("missing/*.png",),
    ],
    ids=" ".join,
)
def test_enhance_checks_everything_first(hidra_unloaded, tmp_path, options):
    a = save_picture(tmp_path / "in" / "a.png")
    code, out_text, err_text = hidra_unloaded("enhance", a, *options, "--output", tmp_path / "out")
    assert (code, out_text) == (2, "")
    assert options[-1] in err_text
    assert "Traceback" not in err_text
    assert err_text.splitlines()[-1].startswith("hidra")
    assert files(tmp_path) == ["in/a.png"]
    assert not (tmp_path / "out").exists()


def test_enhance_needs_a_folder_to_write_to(hidra_unloaded, monkeypatch, tmp_path):
    a = save_picture(tmp_path / "a.png")
    code, _, err_text = hidra_unloaded("enhance", a, "--output", tmp_path / "clear.PNG")
    assert code == 2
    assert "clear.PNG is named like an image file: name a folder" in err_text
    assert not (tmp_path / "clear.PNG").exists()
    code, _, err_text = hidra_unloaded("enhance", a, "--output", a / "out")
    assert code == 2
    assert "is a file" in err_text

    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    code, _, err_text = hidra_unloaded("enhance", a, "--output", tmp_path / "out")
    assert code == 2
    assert "not writable" in err_text


def test_enhance_stops_when_the_disk_is_full(hidra, monkeypatch, replace_enhance, tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        save_picture(tmp_path / "in" / name)
    replace_enhance(lambda _, images, *a, **k: images)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    code, out_text, err_text = hidra("enhance", tmp_path / "in", "--output", tmp_path / "out")
    assert (code, out_text) == (1, "0 enhanced, 1 failed, 2 not done\n")
    assert os.strerror(errno.ENOSPC) in err_text
    assert str(tmp_path / "out" / "a.png") in err_text
    assert files(tmp_path / "out") == []


def test_enhance_stopped_by_the_user(hidra, replace_enhance, tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        save_picture(tmp_path / "in" / name)
    calls = []

    def interrupted(_, images, *a, **k):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return images

    replace_enhance(interrupted)
    code, out_text, err_text = hidra("enhance", tmp_path / "in", "--output", tmp_path / "out")
    assert (code, out_text) == (130, "1 enhanced, 0 failed, 2 not done\n")
    assert "stopped" in err_text
    assert files(tmp_path / "out") == ["a.png"]
    assert pixels(tmp_path / "out" / "a.png").shape == (HEIGHT, WIDTH)


def test_verbose_shows_where_an_error_came_from(hidra, replace_enhance, tmp_path):
    a = save_picture(tmp_path / "a.png")

    def fail(*_, **__):
        raise RuntimeError("first line\nsecond line")

    replace_enhance(fail)
    code, _, err_text = hidra("enhance", a, "--output", tmp_path / "out")
    assert code == 1
    assert err_text == f"hidra: error: {a}: RuntimeError: first line second line (--verbose shows where)\n"
    assert "Traceback" in hidra("enhance", a, "--output", tmp_path / "out", "--verbose")[2]


def test_commands_say_what_is_not_installed(hidra, monkeypatch, tmp_path):
    monkeypatch.setattr("hidra_core.cli.inputs.find_spec", lambda name: None)
    code, _, err_text = hidra("enhance", save_picture(tmp_path / "a.png"), "--output", tmp_path / "out")
    assert code == 1
    assert "hidra-thermal[cli]" in err_text


def test_weights_and_backbone_must_belong_together(hidra, backbone, weights, tmp_path):
    a, out = save_picture(tmp_path / "a.png"), tmp_path / "out"
    save_weights(weights, tmp_path / "w.safetensors")
    save_backbone(backbone, tmp_path / "b.safetensors")

    code, _, err_text = hidra("enhance", a, "--output", out, "--weights", tmp_path / "w.safetensors")
    assert code == 2
    assert "'reference'" in err_text
    assert "--backbone" in err_text

    code, _, err_text = hidra("enhance", a, "--output", out, "--backbone", tmp_path / "b.safetensors")
    assert code == 1
    assert "for another backbone" in err_text
    assert "weights hidra-tiny" in err_text
    assert not out.exists()

    pair = ("--weights", tmp_path / "w.safetensors", "--backbone", tmp_path / "b.safetensors")
    assert hidra("enhance", a, "--output", out, *pair)[:2] == (0, "1 enhanced, 0 failed\n")


@pytest.mark.parametrize("content", [b"", b"not a model", None], ids=["empty", "foreign", "truncated"])
def test_enhance_refuses_damaged_weights(hidra, weights, tmp_path, content):
    path = tmp_path / "w.safetensors"
    if content is None:
        save_weights(weights, path)
        truncate(path)
    else:
        path.write_bytes(content)
    code, out_text, err_text = hidra(
        "enhance", save_picture(tmp_path / "a.png"), "--output", tmp_path / "out", "--weights", path
    )
    assert (code, out_text) == (1, "")
    assert len(err_text.splitlines()) == 1
    assert str(path) in err_text
    assert not (tmp_path / "out").exists()


# --- estimate --------------------------------------------------------------------------------------------------------


def test_estimate_writes_nothing_but_json(tmp_path, tiny):
    deep = save_picture(tmp_path / "in" / "a.png", "I;16")
    bad = truncate(save_picture(tmp_path / "in" / "b.png"))
    done = run_program("estimate", tmp_path / "in")

    assert done.returncode == 1
    assert str(bad) in done.stderr
    report = json.loads(done.stdout)
    assert report["weights"]["source"] == report["weights"]["backbone"] == "hidra-tiny"
    [entry] = report["images"]
    assert {key: entry[key] for key in ("file", "width", "height", "bit_depth")} == {
        "file": str(deep),
        "width": WIDTH,
        "height": HEIGHT,
        "bit_depth": 16,
    }
    picture = read_image(deep)
    [vector] = estimate([stretch(torch.from_numpy(picture.pixels), picture.limits())], tiny[1]).vectors
    torch.testing.assert_close(torch.tensor(entry["vector"]), vector, rtol=0, atol=1e-5)
    assert entry["norm"] == pytest.approx(vector.norm().item(), abs=1e-4)


def test_estimate_into_a_file(hidra, tmp_path):
    a, report = save_picture(tmp_path / "a.png"), tmp_path / "report.json"
    assert hidra("estimate", a, "--output", report) == (0, "1 estimated, 0 failed\n", "")
    assert len(json.loads(report.read_text())["images"][0]["vector"]) == 256
    code, _, err_text = hidra("estimate", a, "--output", report)
    assert code == 2
    assert "--overwrite" in err_text
    assert hidra("estimate", a, "--output", report, "--overwrite", "--quiet") == (0, "", "")
    for target in (a, tmp_path, tmp_path / "missing" / "report.json"):
        assert hidra("estimate", a, "--output", target, "--overwrite")[0] == 2
    code, _, err_text = hidra("estimate", a, "--output", tmp_path / "camera.safetensors")
    assert code == 2
    assert "JSON or text is written" in err_text
    assert pixels(a).shape == (HEIGHT, WIDTH)


# --- convert ---------------------------------------------------------------------------------------------------------


def save_authors_files(folder: Path, weights: Weights) -> list[str | Path]:
    """The authors' two pickles with these weights, and the other inputs; returns the options that name them."""
    model = {"state_embeddings": {}}
    for network in NETWORKS:
        layers, head, name = weights.adapter.layers[network], weights.adapter.heads[network], _ADAPTER_NAME[network]
        state = {}
        for layer, down, up in zip(layers.names, layers.down, layers.up, strict=True):
            state[f"{layer}.lora_A.{name}.weight"] = down.data
            state[f"{layer}.lora_B.{name}.weight"] = up.data.reshape(*up.shape, *[1] * (down.ndim - 2))
        if network == "unet":
            state |= {f"conv_in.{key}": tensor for key, tensor in weights.adapter.conv_in.state_dict().items()}
        model[f"state_dict_{network}"] = state
        model[f"rank_{network}"] = layers.rank
        model[f"{network}_lora_target_modules"] = list(layers.names)
        for ours, theirs, prefix in (("degradation", "de", "0."), ("block", "block", "0."), ("fuse", "fuse", "")):
            part = head.get_submodule(ours).state_dict()
            model[f"state_dict_{network}_{theirs}_mlp"] = {prefix + key: tensor for key, tensor in part.items()}
        model["state_embeddings"][f"state_dict_{network}_block"] = {"weight": head.embedding.data}
    estimator = weights.estimator
    dem = {
        f"{theirs}.{key}": tensor
        for theirs, ours in _DEM_PARTS.items()
        for key, tensor in estimator.get_submodule(ours).state_dict().items()
    }
    dinov2 = folder / "dinov2"
    dinov2.mkdir(parents=True)
    torch.save(model, folder / "model.pkl")
    torch.save({"state_dict_adapter": dem}, folder / "DEM.pkl")
    save_file({"text_embedding": weights.text_embedding.contiguous()}, folder / "text.safetensors")
    save_file(dict(estimator.backbone.state_dict()), dinov2 / "model.safetensors")
    (dinov2 / "config.json").write_text(json.dumps(reference.SMALL_DINOV2 | {"model_type": "dinov2_with_registers"}))
    options = {"--model": "model.pkl", "--dem": "DEM.pkl", "--text-embedding": "text.safetensors", "--dinov2": "dinov2"}
    return [part for option, name in options.items() for part in (option, folder / name)]


def test_convert_gives_back_every_tensor(hidra, weights, tmp_path):
    options = save_authors_files(tmp_path / "authors", weights)
    target = tmp_path / "hidra.safetensors"

    code, out_text, err_text = hidra("convert", *options, "--output", target)
    assert (code, err_text) == (0, "")
    assert str(target) in out_text
    converted = load_weights(target)
    assert converted.backbone == "sd-turbo"
    for ours, theirs in ((converted.adapter, weights.adapter), (converted.estimator.head, weights.estimator.head)):
        for (key, tensor), expected in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
            assert torch.equal(tensor, expected), key
    reference.assert_same(converted.text_embedding, weights.text_embedding)

    code, _, err_text = hidra("convert", *options, "--output", target)
    assert code == 2
    assert "--overwrite" in err_text
    assert hidra("convert", *options, "--output", target, "--overwrite", "--dtype", "fp16")[0] == 0
    assert hidra("convert", *options, "--output", tmp_path / "hidra.pt")[0] == 2


def test_convert_without_dinov2_says_so(hidra, monkeypatch, weights, tmp_path):
    monkeypatch.setattr("hidra_core.weights.DINOV2_BASE", reference.SMALL_DINOV2)  # the authors' sizes are big
    *options, _, dinov2 = save_authors_files(tmp_path / "authors", weights)
    target = tmp_path / "hidra.safetensors"
    code, _, err_text = hidra("convert", *options, "--output", target)
    assert code == 0
    assert "--dem-backbone" in err_text

    a = save_picture(tmp_path / "a.png")
    code, _, err_text = hidra("estimate", a, "--weights", target)
    assert code == 1
    assert "without the DEM's DINOv2" in err_text
    assert hidra("estimate", a, "--weights", target, "--dem-backbone", dinov2)[0] == 0


class Hostile:
    """Creates a file when unpickled by a reader that executes pickles."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_convert_refuses_pickles_with_code(hidra, weights, tmp_path):
    options = save_authors_files(tmp_path / "authors", weights)
    victim, target = tmp_path / "victim", tmp_path / "hidra.safetensors"
    for name in ("model.pkl", "DEM.pkl"):
        path = tmp_path / "authors" / name
        original = path.read_bytes()
        torch.save(torch.load(path, weights_only=True) | {"more": Hostile(victim)}, path)
        code, _, err_text = hidra("convert", *options, "--output", target)
        assert code == 1
        assert f"{path} was refused" in err_text
        assert not victim.exists()
        assert not target.exists()
        path.write_bytes(original)


def test_convert_names_the_input_that_is_wrong(hidra, weights, tmp_path):
    options = save_authors_files(tmp_path / "authors", weights)
    target = tmp_path / "hidra.safetensors"
    text = tmp_path / "authors" / "text.safetensors"
    save_file({"other": torch.zeros(1)}, text)
    code, _, err_text = hidra("convert", *options, "--output", target)
    assert code == 1
    assert "text_embedding" in err_text
    text.unlink()
    code, _, err_text = hidra("convert", *options, "--output", target)
    assert code == 2
    assert str(text) in err_text
    folder = [part if part != "--text-embedding" else "--text-encoder" for part in options]
    text.mkdir()
    code, _, err_text = hidra("convert", *folder, "--output", target)
    assert code == 1
    assert "text_encoder/" in err_text
    assert not target.exists()


# --- info ------------------------------------------------------------------------------------------------------------


def test_info_of_the_built_in_model(hidra):
    code, out_text, _ = hidra("info", "hidra-tiny", "--json")
    weights, backbone = json.loads(out_text)
    assert code == 0
    assert (weights["kind"], weights["backbone"]) == ("HiDRA weights", "hidra-tiny")
    assert weights["architecture"]["unet_rank"] > 0
    assert weights["dem_backbone"]["included"]
    assert (backbone["kind"], backbone["name"]) == ("HiDRA backbone", "hidra-tiny")
    assert all(description["content"]["bytes"] > 0 for description in (weights, backbone))

    code, out_text, _ = hidra("info", "hidra-tiny")
    assert code == 0
    assert "kind: HiDRA weights\n" in out_text
    assert "kind: HiDRA backbone\n" in out_text


def test_info_of_other_files(hidra, backbone, weights, tmp_path):
    path = tmp_path / "file.safetensors"
    save_weights(weights, path, include_dem_backbone=False)
    [description] = json.loads(hidra("info", path, "--json")[1])
    assert description["dem_backbone"]["included"] is False
    assert description["training"] == {"steps": 3}
    assert description["architecture"] == weights.architecture

    save_file({key: torch.zeros(shape, dtype=torch.uint8) for key, shape in SD_TURBO_SHAPES.items()}, path)
    assert "SD-Turbo" in hidra("info", path)[1]

    for network in NETWORKS:
        getattr(backbone, network).save_config(tmp_path / "folder" / network)
    code, out_text, _ = hidra("info", tmp_path / "folder")
    assert code == 0
    assert "diffusers folder" in out_text


def test_info_of_what_it_does_not_know(hidra, tmp_path):
    path = tmp_path / "file.safetensors"
    save_file({"something": torch.zeros(1)}, path)
    foreign = hidra("info", path)
    truncated = hidra("info", truncate(path))
    folder = hidra("info", tmp_path)
    for code, out_text, err_text in (foreign, truncated, folder):
        assert (code, out_text) == (1, "")
        assert len(err_text.splitlines()) == 1
        assert str(tmp_path) in err_text
    assert "something" in foreign[2]
    assert hidra("info", tmp_path / "missing")[0] == 2


# --- the program -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["enhance", "estimate", "convert", "info"])
def test_help(hidra, command):
    code, out_text, _ = hidra(command, "--help")
    assert code == 0
    assert "examples:" in out_text
    assert command in hidra("--help")[1]


def test_version_and_no_command(hidra):
    from hidra_core import __version__

    assert hidra("--version")[:2] == (0, f"hidra {__version__}\n")
    assert hidra()[0] == 2


def test_a_pipe_that_closes_early_is_no_error():
    program = subprocess.Popen(
        [sys.executable, "-m", "hidra_core", "info", "hidra-tiny"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    program.stdout.close()
    assert program.communicate()[1] == ""
    assert program.returncode == 1
