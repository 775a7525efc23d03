"""The evaluation: seeds, tasks, tables, and the command; nothing here hangs on how good a model is."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

import hidra_core
from hidra_core import degradations
from hidra_core.cli import main
from hidra_core.evaluation import fusion, measures, metrics, perceptual, runner, tables
from hidra_core.evaluation.sheets import sheet
from hidra_core.evaluation.tasks import Pictures, RenderedScenes, Task, degrade, file_name, partners
from hidra_core.readouts import Restraint
from hidra_core.weights import add_restraint

KEYS = ("psnr", "psnr_affine", "ssim")


def scene(seed: int = 0, height: int = 56, width: int = 64) -> np.ndarray:
    field = gaussian_filter(np.random.default_rng(seed).normal(size=(height, width)), 4)
    return (40 + 170 * (field - field.min()) / np.ptp(field)).round().astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """A folder of three clean pictures, one in a sub-folder."""
    for index, name in enumerate(("10.png", "9.png", "night/a.png")):
        save(tmp_path / "clean" / name, scene(index))
    return tmp_path / "clean"


def pictures(folder: Path) -> Pictures:
    return Pictures({path.relative_to(folder).as_posix(): path for path in folder.rglob("*.png")})


def run(task: Task, **methods) -> runner.Result:
    found, _ = measures.choose(task, KEYS, {})
    return runner.run(task, methods, found)


# --- tasks -----------------------------------------------------------------------------------------------------------


def test_seeds_follow_the_alphabet_and_the_draws(clean):
    cases = list(Task("fpn", pictures(clean), seed=5, draws=2).cases())
    assert [(case.name, case.draw, case.seed) for case in cases] == [
        ("10.png", 0, 5),
        ("9.png", 0, 6),
        ("night/a.png", 0, 7),
        ("10.png", 1, 8),
        ("9.png", 1, 9),
        ("night/a.png", 1, 10),
    ]
    for case in cases:
        expected, _ = degrade(case.reference, "fpn", case.seed)
        assert np.array_equal(case.image, expected)
    assert not np.array_equal(cases[0].image, cases[3].image)


def test_a_record_repeats_its_degradation(clean):
    for case in Task("composite", pictures(clean), draws=3).cases():
        record = degradations.DegradationRecord.from_dict(json.loads(json.dumps(case.record)))
        again = degradations.apply(torch.from_numpy(case.reference)[None, None], record)[0, 0].numpy()
        assert np.array_equal(again, case.image)


def test_no_draw_leaves_the_picture_as_it_was():
    image = scene().astype(np.float32) / 255
    # With composite's odds of 0.7 a stage, one draw in 37 has no stage at all.
    assert all(np.abs(degrade(image, "composite", seed)[0] - image).max() > 1 / 255 for seed in range(60))


def test_untouched_gives_the_clean_picture_itself(clean):
    for case in Task("untouched", pictures(clean)).cases():
        assert np.array_equal(case.image, case.reference)


def test_pictures_are_grey_bytes_whatever_the_file(tmp_path):
    colour = np.stack([scene(), scene(1), scene(2)], -1)
    files = {
        "colour.png": save(tmp_path / "colour.png", colour),
        "deep.png": save(tmp_path / "deep.png", (8000 + 20 * scene().astype(np.uint16))),
    }
    for image in Pictures(files).values():
        assert image.shape == (56, 64)
        assert image.dtype == np.float32
        assert np.array_equal(image, metrics.to_8_bit(image).astype(np.float32) / 255)
    assert Pictures(files)["deep.png"].max() == 1  # stretched to its own range


def test_scenes_need_no_files():
    names = list(RenderedScenes())
    assert len(names) == 8
    assert RenderedScenes()[names[0]].shape == (512, 640)


def test_partners_may_have_another_ending(tmp_path):
    files = {"a.jpg": tmp_path / "a.jpg", "sub/b.png": tmp_path / "sub/b.png"}
    assert partners(["a.png", "sub/b.png"], files, "here").files == {
        "a.png": files["a.jpg"],
        "sub/b.png": files["sub/b.png"],
    }
    with pytest.raises(ValueError, match="here has no picture named b for the input b.png"):
        partners(["b.png"], files, "here")
    with pytest.raises(ValueError, match="here has 2 pictures named a "):
        partners(["a.png"], {"a.jpg": tmp_path, "a.tif": tmp_path}, "here")


def test_check_names_pairs_of_unequal_size_and_tiny_pictures(tmp_path):
    inputs = Pictures({"a.png": save(tmp_path / "a.png", scene())})
    others = Pictures({"a.png": save(tmp_path / "b.png", scene(height=48))})
    with pytest.raises(ValueError, match="a.png has 56x64 pixels and its visible partner 48x64"):
        Task("fusion", inputs, visible=others).check()
    tiny = Pictures({"t.png": save(tmp_path / "t.png", scene()[:10])})
    with pytest.raises(ValueError, match="t.png has 10x64 pixels; at least 11x11"):
        Task("fpn", tiny).check()
    small = Pictures({"s.png": save(tmp_path / "s.png", scene()[:40])})
    with pytest.raises(ValueError, match="at least 41x41"):
        Task("fusion", small, visible=small).check()


# --- running ---------------------------------------------------------------------------------------------------------


def test_every_method_gets_the_same_pictures_and_is_measured_on_bytes(clean):
    task = Task("fpn", pictures(clean))
    seen = []

    def half_a_level_up(image):
        seen.append(image)
        return image + 0.4 / 255

    result = run(task, rounded=half_a_level_up)
    assert result.methods == ["input", "rounded"]
    for case, entry, image in zip(task.cases(), result.cases, seen, strict=True):
        assert np.array_equal(case.image, image)
        assert entry["scores"]["rounded"] == entry["scores"]["input"]
        expected = metrics.psnr(metrics.to_8_bit(case.image), metrics.to_8_bit(case.reference))
        assert entry["scores"]["input"]["psnr"] == expected
    mean = np.mean([entry["scores"]["input"]["ssim"] for entry in result.cases])
    assert result.mean("input", "ssim") == pytest.approx(mean)


def test_without_references_stripes_and_low_frequencies_are_measured(tmp_path):
    columns = np.random.default_rng(3).normal(0, 10, 64)
    striped = np.clip(scene() + columns, 0, 255).round().astype(np.uint8)
    task = Task("degraded", Pictures({"s.png": save(tmp_path / "s.png", striped)}))
    found, _ = measures.choose(task, KEYS, {})
    result = runner.run(task, {"clean": lambda _: scene() / 255, "flat": lambda image: 0.4 + 0.2 * image}, found)
    scores = result.cases[0]["scores"]
    assert scores["input"]["column_noise_reduction"] == 0
    assert scores["clean"]["column_noise_reduction"] > 80
    assert scores["clean"]["low_frequency_correlation"] > 0.98
    assert scores["flat"]["column_noise_reduction"] > 90  # merely flatter
    assert abs(scores["flat"]["column_noise_reduction_at_equal_contrast"]) < 5


def test_fusion_is_scored_against_the_original_and_the_enhanced_picture(tmp_path):
    inputs = Pictures({"a.png": save(tmp_path / "ir.png", scene(0))})
    visible = Pictures({"a.png": save(tmp_path / "vis.png", scene(1))})
    task = Task("fusion", inputs, visible=visible)
    found, _ = measures.choose(task, (), {}, mi_unit="nats", vif_border="same")
    result = runner.run(
        task,
        {"inverted": lambda image: 1 - image},
        found,
        fusions=["maximum"],
        conventions={"mi_unit": "nats", "vif_border": "same"},
    )
    assert result.methods == ["input, maximum", "inverted, maximum"]
    infrared, partner, inverted = scene(0), scene(1), 255 - scene(0)
    fused = fusion.maximum(inverted, partner)
    original = fusion.scores(infrared, partner, fused, mi_unit="nats", vif_border="same")
    enhanced = fusion.scores(inverted, partner, fused, mi_unit="nats", vif_border="same")
    assert result.cases[0]["scores"]["inverted, maximum"] == original | {
        f"{key}_enhanced": value for key, value in enhanced.items()
    }


def test_fused_results_of_another_program_are_read_from_its_folder(tmp_path):
    inputs = Pictures({"a.png": save(tmp_path / "ir.png", scene(0))})
    visible = Pictures({"a.png": save(tmp_path / "vis.png", scene(1))})
    task = Task("fusion", inputs, visible=visible)
    save(tmp_path / "fused" / "input" / "a.png", scene(2))
    found, _ = measures.choose(task, (), {})
    other = runner.FusedFolder("other", tmp_path / "fused")
    result = runner.run(task, {"median 3×3": lambda image: image}, found, fusions=["average", other])
    assert result.methods == ["input, average", "input, other", "median 3×3, average"]
    assert result.cases[0]["scores"]["input, other"]["mi"] == fusion.scores(scene(0), scene(1), scene(2))["mi"]
    assert "median-3x3" in result.missing["median 3×3, other"]
    save(tmp_path / "fused" / "input" / "a.png", scene(2, height=48))
    with pytest.raises(ValueError, match="48.*they must agree"):
        runner.run(task, {}, found, fusions=[other])


def test_whole_sets_are_measured_on_the_outputs_written(clean):
    def fid(outputs: Path, references: Path) -> float:
        names = sorted(path.relative_to(outputs).as_posix() for path in outputs.rglob("*.png"))
        assert names == sorted(path.relative_to(references).as_posix() for path in references.rglob("*.png"))
        return float(sum(np.asarray(Image.open(outputs / name), float).mean() for name in names))

    task = Task("fpn", pictures(clean), draws=2)
    found, _ = measures.choose(task, (*KEYS, "fid"), {"fid": fid})
    result = runner.run(task, {"black": lambda image: image * 0}, found, sets={"fid": fid})
    assert result.mean("black", "fid") == 0 < result.mean("input", "fid")


def test_a_method_that_changes_the_size_is_named(clean):
    with pytest.raises(ValueError, match="'cropped' made .*10.png"):
        run(Task("fpn", pictures(clean)), cropped=lambda image: image[1:])


def test_metrics_that_need_larger_pictures_are_missing_with_the_reason(clean):
    found, reasons = measures.choose(Task("fpn", pictures(clean)), ("psnr", "ms_ssim"), {})
    assert [metric.key for metric in found] == ["psnr"]
    assert "176 a side are needed" in reasons["ms_ssim"]


# --- tables ----------------------------------------------------------------------------------------------------------

ABOUT = {"command": "hidra evaluate", "machine": "this one", "models": {}, "conventions": {}}


def test_tables_mark_the_best_and_name_what_is_not_measured(clean):
    result = run(Task("fpn", pictures(clean)), black=lambda image: image * 0)
    result.missing["ms_ssim"] = "too small"
    text = tables.markdown([result], ABOUT | {"not_measured": {"niqe": "no weights"}})
    lines = text.splitlines()
    assert "| method | PSNR dB ↑ | PSNR dB after gain and offset ↑ | SSIM ↑ |" in lines
    assert f"| input | **{result.mean('input', 'psnr'):.2f}** |" in text
    assert "- niqe: no weights" in lines
    assert "- ms_ssim (fpn): too small" in lines
    assert "3 pictures, seeds 0 to 2; means over all." in lines


def test_json_is_plain_and_complete(clean):
    result = run(Task("untouched", pictures(clean)))
    content = json.loads(tables.to_json(tables.document([result], ABOUT | {"not_measured": {}})))
    assert content["format"] == "hidra-evaluation"
    assert content["version"] == 1
    [task] = content["tasks"]
    assert task["means"]["input"]["psnr"] == "inf"
    assert task["means"]["input"]["ssim"] == pytest.approx(1)
    assert [case["name"] for case in task["cases"]] == ["10.png", "9.png", "night/a.png"]
    assert "∞" in tables.markdown([result], ABOUT | {"not_measured": {}})


def test_sheets_wrap_wide_rows():
    narrow = sheet([("a", {str(i): scene() for i in range(7)})], width=32)
    wide = sheet([("a", {str(i): scene() for i in range(8)})], width=32)
    assert wide.width == narrow.width
    assert wide.height == 2 * narrow.height
    with pytest.raises(ValueError, match="at least one row"):
        sheet([])


def test_names_of_results():
    assert file_name("sub/a.tiff") == "sub/a.png"
    assert file_name("a.png", 2) == "a-draw2.png"
    assert file_name("scene 1.5") == "scene 1.5.png"
    assert runner.slug("median 5×5") == "median-5x5"
    assert runner.slug("moment matching + NLM") == "moment-matching-and-nlm"


# --- metrics with trained networks -----------------------------------------------------------------------------------


def test_without_pyiqa_its_metrics_are_missing_and_say_how_to_get_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    measured, missing = perceptual.load(perceptual.NAMES)
    assert measured == {}
    assert set(missing) == set(perceptual.NAMES)
    assert all("pip install 'hidra-thermal[evaluate]'" in reason for reason in missing.values())


def test_weights_that_are_not_here_are_named_and_never_fetched(monkeypatch, tmp_path, capsys):
    """A package that behaves as pyiqa does: it fetches what it lacks when a metric is made."""
    package = tmp_path / "pyiqa"
    (package / "utils").mkdir(parents=True)
    (package / "utils" / "__init__.py").touch()
    (package / "utils" / "download_util.py").write_text("from torch.hub import download_url_to_file\n")
    (package / "__init__.py").write_text(
        "import torch\n"
        "def create_metric(name, device):\n"
        "    from .utils import download_util\n"
        "    print('Downloading')\n"
        "    if name == 'lpips':\n"
        "        torch.hub.load_state_dict_from_url('https://example.invalid/alexnet.pth', model_dir='here')\n"
        "    if name == 'dists':\n"
        "        download_util.download_url_to_file('https://example.invalid/dists.pth', 'there/dists.pth')\n"
        "    if name == 'maniqa':\n"
        "        import huggingface_hub\n"
        "        huggingface_hub.hf_hub_download('nobody/nothing-of-the-kind', 'x.bin', cache_dir='hub')\n"
        "    if name == 'fid':\n"
        "        raise RuntimeError('broken file')\n"
        "    return lambda image: image.mean() + image.shape[1]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyiqa"]:
        monkeypatch.delitem(sys.modules, name)
    measured, missing = perceptual.load(perceptual.NAMES)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyiqa"]:
        del sys.modules[name]
    assert set(measured) == {"niqe"}
    assert "put https://example.invalid/alexnet.pth at here" in missing["lpips"]
    assert "put https://example.invalid/dists.pth at there/dists.pth" in missing["dists"]
    assert "not on this machine" in missing["maniqa"]
    assert "broken file" in missing["fid"]
    assert capsys.readouterr() == ("", "")
    assert measured["niqe"](np.full((8, 8), 51, np.uint8)) == pytest.approx(3.2)  # three channels in [0, 1]


def test_an_unknown_trained_metric_is_refused():
    with pytest.raises(ValueError, match="unknown metric 'vmaf'; choose from lpips"):
        perceptual.load(["vmaf"])


# --- the command -----------------------------------------------------------------------------------------------------


def evaluate(*arguments: str | os.PathLike, baselines: str = "median-3x3") -> int:
    return main(["evaluate", *map(str, arguments), "--device", "cpu", "--baselines", baselines])


def test_the_restraint_counts_unless_it_is_switched_off(clean, tmp_path, capsys):
    weights = tmp_path / "spared.safetensors"
    nothing = Restraint(torch.zeros(2, 256), torch.full((2,), -50.0), 64)  # is taken of any change
    add_restraint("hidra-tiny", nothing, weights)
    found = []
    for number, options in enumerate([[], ["--no-restraint"]]):
        out = tmp_path / str(number)
        options += ["--weights", weights, "--tasks", "untouched", "--metrics", "psnr"]
        assert evaluate(clean, "-o", out, *options, baselines="none") == 0
        content = json.loads((out / "evaluation.json").read_text())
        found.append(float(content["tasks"][0]["means"]["spared"]["psnr"]))
    assert found[0] > found[1] + 3


def test_the_command_writes_tables_sheets_and_outputs(clean, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    out = tmp_path / "out"
    code = evaluate(clean, "-o", out, "--tasks", "fpn,sr-x2", "--draws", "2", "--bare", "--keep-outputs")
    text, errors = capsys.readouterr()
    assert code == 0
    assert errors == ""
    assert text.rstrip() == (out / "evaluation.md").read_text().rstrip()
    assert "median 3×3" in text
    assert "- niqe: needs pyiqa" in text
    content = json.loads((out / "evaluation.json").read_text())
    assert [task["name"] for task in content["tasks"]] == ["fpn", "sr-x2"]
    assert list(content["tasks"][0]["means"]) == [
        "input",
        "median 3×3",
        "hidra-tiny without adaptation",
        "hidra-tiny",
    ]
    assert [case["seed"] for case in content["tasks"][0]["cases"]] == list(range(6))
    assert len(content["models"]["hidra-tiny"]["weights"]["hidra-tiny/weights.safetensors"]) == 64
    assert set(content["images"]) == {"10.png", "9.png", "night/a.png"}
    assert torch.__version__.startswith(content["versions"]["torch"])
    assert {path.name for path in out.glob("*.png")} == {"sheet-fpn.png", "sheet-sr-x2.png"}
    kept = out / "outputs" / "fpn" / "hidra-tiny" / "night" / "a-draw1.png"
    again = metrics.psnr(np.asarray(Image.open(kept)), scene(2))
    [case] = [c for c in content["tasks"][0]["cases"] if c["name"] == "night/a.png" and c["draw"] == 1]
    assert case["scores"]["hidra-tiny"]["psnr"] == pytest.approx(again)
    assert evaluate(clean, "-o", out, "--tasks", "fpn") == 2
    assert "evaluation.json exists; --overwrite" in capsys.readouterr().err


def test_several_weights_are_rows_of_their_own(clean, tmp_path):
    built_in = Path(hidra_core.__file__).parent / "models" / "hidra-tiny" / "weights.safetensors"
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(built_in.read_bytes())
    options = ["--tasks", "fpn", "--metrics", "psnr", "--quiet", "--weights", "hidra-tiny", "--weights", mine]
    assert evaluate(clean / "9.png", "-o", tmp_path / "out", *options, baselines="none") == 0
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    means = content["tasks"][0]["means"]
    assert list(means) == ["input", "hidra-tiny", "mine"]
    assert means["mine"] == means["hidra-tiny"]
    first, second = (list(entry["weights"].values()) for entry in content["models"].values())
    assert first == second


def test_degraded_pictures_with_and_without_references(clean, tmp_path, capsys):
    for index, name in enumerate(("10.png", "9.png", "night/a.png")):
        noise = np.random.default_rng(index).normal(0, 12, (56, 64))
        save(tmp_path / "noisy" / name, np.clip(scene(index) + noise, 0, 255).astype(np.uint8))
    noisy = tmp_path / "noisy"
    assert evaluate(noisy, "-o", tmp_path / "a", "--references", clean, "--metrics", "psnr", "--quiet") == 0
    assert evaluate(noisy, "-o", tmp_path / "b", "--tasks", "degraded", "--metrics", "psnr", "--quiet") == 0
    first, second = (json.loads((tmp_path / x / "evaluation.json").read_text())["tasks"][0]["means"] for x in "ab")
    assert list(first["input"]) == ["psnr"]
    assert 24 < first["input"]["psnr"] < 29
    assert "column_noise_reduction" in second["input"]
    assert "psnr" not in second["input"]
    assert capsys.readouterr() == ("", "")


def test_the_fusion_protocol(clean, tmp_path):
    for index, name in enumerate(("10.png", "9.png", "night/a.png")):
        save(tmp_path / "visible" / name.replace("png", "jpg"), np.stack([scene(index + 5)] * 3, -1))
    code = evaluate(clean, "-o", tmp_path / "out", "--visible", tmp_path / "visible", "--mi", "nats", "--quiet")
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert code == 0
    assert content["conventions"] == {"mi_unit": "nats", "vif_border": "valid"}
    assert len(content["tasks"][0]["means"]) == 3 * 3
    assert set(content["tasks"][0]["means"]["input, average"]) >= {"mi", "qabf_enhanced"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "fpn,snow"], "--tasks: there is no 'snow'; choose from composite"),
        (["--metrics", "vmaf"], "--metrics: there is no 'vmaf'"),
        (["--tasks", "fusion"], "needs the visible partners"),
        (["--tasks", "fpn,degraded"], "run them separately"),
        (["--tasks", "fpn", "--references", "clean"], "--references is for the task degraded alone"),
        (["--tasks", "fpn", "--metrics", "ms_ssim"], "nothing can be measured on the task fpn; ms_ssim: "),
        (["--draws", "0"], "--draws must be at least 1, got 0"),
        (["--weights", "nowhere.safetensors"], "nowhere.safetensors: no such file"),
        (["--fused", "a=clean"], "--fused is for the task fusion"),
        (["--visible", "clean", "--fused", "x"], "--fused x: expected NAME=DIR"),
        (["--visible", "clean", "--fusions", "none"], "nothing fuses the pairs"),
    ],
)
def test_wrong_usage_is_explained_before_any_work(clean, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert evaluate(clean, "-o", tmp_path / "out", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unknown_baseline_and_an_unreadable_picture(clean, tmp_path, capsys):
    assert evaluate(clean, "-o", tmp_path / "out", baselines="median-7x7") == 2
    assert "--baselines: there is no 'median-7x7'; choose from clahe" in capsys.readouterr().err
    (clean / "broken.png").write_bytes(b"no picture")
    assert evaluate(clean, "-o", tmp_path / "out") == 2
    assert "broken.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_stopping_keeps_the_finished_tasks(clean, tmp_path, capsys, monkeypatch):
    calls = []

    def stop(task, *arguments, **options):
        calls.append(task.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(task, *arguments, **options)

    original = runner.run
    monkeypatch.setattr(runner, "run", stop)
    out = tmp_path / "out"
    assert evaluate(clean, "-o", out, "--tasks", "fpn,sr-x2", "--metrics", "psnr") == 130
    assert "stopped after 1 of 2 tasks" in capsys.readouterr().err
    content = json.loads((out / "evaluation.json").read_text())
    assert [task["name"] for task in content["tasks"]] == ["fpn"]
    assert content["tasks_asked_for"] == ["fpn", "sr-x2"]
