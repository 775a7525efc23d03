"""The evaluation: seeds, tasks, tables, and the command; nothing here depends on how good a model is."""

import json
import os
import re
import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from helpers.thermal_files import fff, flir_jpeg, frame, tiff_pages
from PIL import Image
from scipy.ndimage import gaussian_filter

import hidra_core
from hidra_core import degradations
from hidra_core.cli import main
from hidra_core.evaluation import fusion, measures, metrics, perceptual, runner, tables
from hidra_core.evaluation.baselines import BASELINES
from hidra_core.evaluation.sheets import sheet
from hidra_core.evaluation.tasks import TASKS, ImageSet, RenderedScenes, Task, degrade, file_name, partners
from hidra_core.readouts import Restraint
from hidra_core.sources import read_grey
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
    """A folder of three clean images, one in a sub-folder."""
    for index, name in enumerate(("10.png", "9.png", "night/a.png")):
        save(tmp_path / "clean" / name, scene(index))
    return tmp_path / "clean"


def images(folder: Path) -> ImageSet:
    return ImageSet({path.relative_to(folder).as_posix(): path for path in folder.rglob("*.png")})


def run(task: Task, **methods) -> runner.Result:
    columns, _ = measures.choose(task, KEYS, {})
    return runner.run(task, methods, columns)


# --- tasks -----------------------------------------------------------------------------------------------------------


def test_seeds_follow_the_alphabet_and_the_draws(clean):
    cases = list(Task("fpn", images(clean), seed=5, draws=2).cases())
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
    for case in Task("composite", images(clean), draws=3).cases():
        record = degradations.DegradationRecord.from_dict(json.loads(json.dumps(case.record)))
        again = degradations.apply(torch.from_numpy(case.reference)[None, None], record)[0, 0].numpy()
        assert np.array_equal(again, case.image)


def test_every_draw_changes_the_image():
    image = scene().astype(np.float32) / 255
    # With composite's probability of 0.7 per stage, one draw in 37 has no stage at all.
    assert all(np.abs(degrade(image, "composite", seed)[0] - image).max() > 1 / 255 for seed in range(60))


def test_untouched_gives_the_clean_image_itself(clean):
    for case in Task("untouched", images(clean)).cases():
        assert np.array_equal(case.image, case.reference)


def test_images_are_grey_bytes_whatever_the_file(tmp_path):
    colour = np.stack([scene(), scene(1), scene(2)], -1)
    files = {
        "colour.png": save(tmp_path / "colour.png", colour),
        "deep.png": save(tmp_path / "deep.png", (8000 + 20 * scene().astype(np.uint16))),
    }
    with pytest.raises(ValueError, match=r"colour\.png is in false colours.*--palette auto"):
        ImageSet(files)["colour.png"]
    for image in ImageSet(files, as_is=True).values():
        assert image.shape == (56, 64)
        assert image.dtype == np.float32
        assert np.array_equal(image, metrics.to_8_bit(image).astype(np.float32) / 255)
    assert ImageSet(files)["deep.png"].max() == 1  # stretched to its own range


def test_thermal_files_are_measured_by_their_counts(tmp_path):
    counts = frame()
    camera = flir_jpeg(tmp_path / "a.jpg", fff(counts))
    (tmp_path / "b.fff").write_bytes(fff(counts))
    images = ImageSet({"a.jpg": camera, "b.fff": tmp_path / "b.fff"})
    expected = metrics.to_8_bit(read_grey(camera)[0])  # not the preview, which has one colour everywhere
    assert np.ptp(expected) > 200
    for image in images.values():
        assert np.array_equal(metrics.to_8_bit(image), expected)
    assert file_name("b.fff") == "b.png"


def test_a_file_of_several_pages_is_named_with_the_remedy(tmp_path):
    pages = {"pages.tiff": tiff_pages(tmp_path / "pages.tiff", [frame(), frame(seed=1)])}
    with pytest.raises(ValueError, match=r"pages.tiff has 2 pages.*save each page as its own file"):
        ImageSet(pages)["pages.tiff"]


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
    with pytest.raises(ValueError, match="here has no image named b for the input b.png"):
        partners(["b.png"], files, "here")
    with pytest.raises(ValueError, match="here has 2 images named a "):
        partners(["a.png"], {"a.jpg": tmp_path, "a.tif": tmp_path}, "here")


def test_check_names_pairs_of_unequal_size_and_tiny_images(tmp_path):
    inputs = ImageSet({"a.png": save(tmp_path / "a.png", scene())})
    others = ImageSet({"a.png": save(tmp_path / "b.png", scene(height=48))})
    with pytest.raises(ValueError, match="a.png has 64×56 pixels and its visible partner 64×48"):
        Task("fusion", inputs, visible=others).check()
    tiny = ImageSet({"t.png": save(tmp_path / "t.png", scene()[:10])})
    with pytest.raises(ValueError, match="t.png has 64×10 pixels; at least 11×11"):
        Task("fpn", tiny).check()
    small = ImageSet({"s.png": save(tmp_path / "s.png", scene()[:40])})
    with pytest.raises(ValueError, match="at least 41×41"):
        Task("fusion", small, visible=small).check()


# --- running ---------------------------------------------------------------------------------------------------------


def test_every_method_gets_the_same_images_and_is_measured_on_bytes(clean):
    task = Task("fpn", images(clean))
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
    offsets = np.random.default_rng(3).normal(0, 10, 64)
    striped = np.clip(scene() + offsets, 0, 255).round().astype(np.uint8)
    task = Task("degraded", ImageSet({"s.png": save(tmp_path / "s.png", striped)}))
    columns, _ = measures.choose(task, KEYS, {})
    result = runner.run(task, {"clean": lambda _: scene() / 255, "flat": lambda image: 0.4 + 0.2 * image}, columns)
    scores = result.cases[0]["scores"]
    assert scores["input"]["column_noise_reduction"] == 0
    assert scores["clean"]["column_noise_reduction"] > 80
    assert scores["clean"]["low_frequency_correlation"] > 0.98
    assert scores["flat"]["column_noise_reduction"] > 90  # merely flatter
    assert abs(scores["flat"]["column_noise_reduction_at_equal_contrast"]) < 5


def test_fusion_is_scored_against_the_original_and_the_enhanced_image(tmp_path):
    inputs = ImageSet({"a.png": save(tmp_path / "ir.png", scene(0))})
    visible = ImageSet({"a.png": save(tmp_path / "vis.png", scene(1))})
    task = Task("fusion", inputs, visible=visible)
    columns, _ = measures.choose(task, (), {}, mi_unit="nats", vif_border="same")
    result = runner.run(
        task,
        {"inverted": lambda image: 1 - image},
        columns,
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
    inputs = ImageSet({"a.png": save(tmp_path / "ir.png", scene(0))})
    visible = ImageSet({"a.png": save(tmp_path / "vis.png", scene(1))})
    task = Task("fusion", inputs, visible=visible)
    save(tmp_path / "fused" / "input" / "a.png", scene(2))
    columns, _ = measures.choose(task, (), {})
    other = runner.FusedFolder("other", tmp_path / "fused")
    result = runner.run(task, {"median 3×3": lambda image: image}, columns, fusions=["average", other])
    assert result.methods == ["input, average", "input, other", "median 3×3, average"]
    assert result.cases[0]["scores"]["input, other"]["mi"] == fusion.scores(scene(0), scene(1), scene(2))["mi"]
    assert "median-3x3" in result.missing["median 3×3, other"]
    deep = 5000 + 40 * scene(3).astype(np.uint16)
    save(tmp_path / "fused" / "input" / "a.png", deep)
    case = next(task.cases())
    assert np.array_equal(other.read("input", case), metrics.to_8_bit(read_grey(tmp_path / "fused/input/a.png")[0]))
    save(tmp_path / "fused" / "input" / "a.png", scene(2, height=48))
    with pytest.raises(ValueError, match="48.*they must agree"):
        runner.run(task, {}, columns, fusions=[other])


def test_whole_sets_are_measured_on_the_outputs_written(clean):
    def fid(outputs: Path, references: Path) -> float:
        names = sorted(path.relative_to(outputs).as_posix() for path in outputs.rglob("*.png"))
        assert names == sorted(path.relative_to(references).as_posix() for path in references.rglob("*.png"))
        return float(sum(np.asarray(Image.open(outputs / name), float).mean() for name in names))

    task = Task("fpn", images(clean), draws=2)
    columns, _ = measures.choose(task, (*KEYS, "fid"), {"fid": fid})
    result = runner.run(task, {"black": lambda image: image * 0}, columns, sets={"fid": fid})
    assert result.mean("black", "fid") == 0 < result.mean("input", "fid")


def test_a_method_that_changes_the_size_is_named(clean):
    with pytest.raises(ValueError, match="'cropped' made .*10.png"):
        run(Task("fpn", images(clean)), cropped=lambda image: image[1:])


def test_metrics_that_need_larger_images_are_missing_with_the_reason(clean):
    columns, reasons = measures.choose(Task("fpn", images(clean)), ("psnr", "ms_ssim"), {})
    assert [metric.key for metric in columns] == ["psnr"]
    assert "176 per side are needed" in reasons["ms_ssim"]


# --- tables ----------------------------------------------------------------------------------------------------------


def rows(text: str) -> list[list[str]]:
    """The cells of all lines of Markdown tables."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


ABOUT = {"command": "hidra evaluate", "machine": "this one", "models": {}, "conventions": {}}


def test_tables_mark_the_best_and_name_what_is_not_measured(clean):
    result = run(Task("fpn", images(clean)), black=lambda image: image * 0)
    result.missing["ms_ssim"] = "too small"
    text = tables.markdown([result], ABOUT | {"not_measured": {"niqe": "no weights"}})
    lines = text.splitlines()
    header, _, first, _ = rows(text)
    assert header == ["method", "PSNR dB ↑", "PSNR dB after gain and offset ↑", "SSIM ↑"]
    assert first[:2] == ["input", f"**{result.mean('input', 'psnr'):.2f}**"]
    assert "- niqe: no weights" in lines
    assert "- ms_ssim (fpn): too small" in lines
    assert "3 images, seeds 0 to 2; means over all." in lines


def test_json_is_plain_and_complete(clean):
    result = run(Task("untouched", images(clean)))
    content = json.loads(tables.to_json(tables.document([result], ABOUT | {"not_measured": {}})))
    assert content["format"] == "hidra-evaluation"
    assert content["version"] == 1
    [task] = content["tasks"]
    assert task["means"]["input"]["psnr"] == "inf"
    assert task["means"]["input"]["ssim"] == pytest.approx(1)
    assert [case["name"] for case in task["cases"]] == ["10.png", "9.png", "night/a.png"]
    assert "∞" in tables.markdown([result], ABOUT | {"not_measured": {}})


def test_rows_with_some_identical_images_say_how_many(clean):
    """They are compared with none: one identical image would outweigh all errors of the others."""
    first = [0]

    def only_first(image):
        first[0] += 1
        return image if first[0] == 1 else image * 0.9

    result = run(
        Task("untouched", images(clean)),
        same=lambda image: image,
        only_first=only_first,
        dark=lambda image: image * 0.99,
    )
    cells = {row[0]: row[1] for row in rows(tables.markdown([result], ABOUT | {"not_measured": {}}))}
    assert cells["same"] == "**∞**"
    assert cells["only_first"] == "∞ (1 of 3)"
    assert "*" not in cells["dark"]


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


@pytest.fixture
def pyiqa(monkeypatch, tmp_path) -> Path:
    """A package with the tables of pyiqa, whose metrics fetch what they lack; returns the folder of its weights."""
    for folder in ("utils", "archs"):
        (tmp_path / "pyiqa" / folder).mkdir(parents=True)
        (tmp_path / "pyiqa" / folder / "__init__.py").touch()
    weights = tmp_path / "weights"
    modules = {
        "utils/download_util.py": f"DEFAULT_CACHE_DIR = {str(weights)!r}\n",
        "archs/lpips_arch.py": "default_model_urls = {'0.1_alex': 'https://example.invalid/lpips.pth'}\n",
        "archs/dists_arch.py": "default_model_urls = {'url': 'https://example.invalid/dists.pth'}\n",
        "archs/maniqa_arch.py": "default_model_urls = {'koniq': 'https://example.invalid/maniqa.pt'}\n",
        "archs/niqe_arch.py": "default_model_urls = {'url': 'https://example.invalid/niqe.mat?download=true'}\n",
        "archs/inception.py": "FID_WEIGHTS_URL = 'https://example.invalid/fid.pth'\n",
        "__init__.py": (
            "import os, huggingface_hub\n"
            "from .utils.download_util import DEFAULT_CACHE_DIR\n"
            "def create_metric(name, device):\n"
            "    print('Downloading')\n"
            "    assert os.listdir(DEFAULT_CACHE_DIR), 'this would have fetched its weights'\n"
            "    if name == 'maniqa':\n"
            "        huggingface_hub.hf_hub_download('nobody/nothing-of-the-kind', 'x.bin', cache_dir='hub')\n"
            "    if name == 'fid':\n"
            "        raise RuntimeError('broken file')\n"
            "    return lambda image: image.mean() + image.shape[1]\n"
        ),
    }
    for name, text in modules.items():
        (tmp_path / "pyiqa" / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)
    forget = [name for name in sys.modules if name.partition(".")[0] == "pyiqa"]
    for name in forget:
        monkeypatch.delitem(sys.modules, name)
    yield weights
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyiqa"]:
        del sys.modules[name]


def test_weights_that_are_not_here_are_named_and_never_fetched(pyiqa, tmp_path, capsys):
    measured, missing = perceptual.load(perceptual.NAMES)
    assert measured == {}
    assert f"put https://example.invalid/lpips.pth at {pyiqa / 'lpips.pth'} and https://" in missing["lpips"]
    assert re.search(rf"alexnet\S*\.pth at {tmp_path}/torch/hub/checkpoints/alexnet\S*\.pth", missing["lpips"])
    assert re.search(rf"vgg16\S*\.pth at {tmp_path}/torch/hub/checkpoints/vgg16\S*\.pth", missing["dists"])
    assert f"put https://example.invalid/maniqa.pt at {pyiqa / 'maniqa.pt'}" in missing["maniqa"]
    assert missing["niqe"].endswith(f"put https://example.invalid/niqe.mat?download=true at {pyiqa / 'niqe.mat'}")
    assert missing["fid"].endswith(f"put https://example.invalid/fid.pth at {pyiqa / 'fid.pth'}")
    assert capsys.readouterr() == ("", "")


def test_metrics_whose_weights_are_here_are_made_offline(pyiqa, capsys):
    pyiqa.mkdir()
    for name in ("maniqa.pt", "niqe.mat", "fid.pth"):
        (pyiqa / name).touch()
    online = huggingface_hub.constants.HF_HUB_OFFLINE
    measured, missing = perceptual.load(perceptual.NAMES)
    assert set(measured) == {"niqe"}
    assert "run pyiqa's own" in missing["maniqa"]  # its transformer is not in the cache of the hub
    assert "broken file" in missing["fid"]
    assert capsys.readouterr() == ("", "")
    assert measured["niqe"](np.full((8, 8), 51, np.uint8)) == pytest.approx(3.2)  # three channels in [0, 1]
    assert online == huggingface_hub.constants.HF_HUB_OFFLINE


def test_a_pyiqa_without_the_expected_tables_is_not_asked_for_its_metric(pyiqa, tmp_path):
    (tmp_path / "pyiqa" / "archs" / "inception.py").write_text("")
    pyiqa.mkdir()
    (pyiqa / "fid.pth").touch()
    _, missing = perceptual.load(["fid"])
    assert "pyiqa cannot load it (AttributeError: " in missing["fid"]


def test_an_unknown_trained_metric_is_refused():
    with pytest.raises(ValueError, match="unknown metric 'vmaf'; choose from lpips"):
        perceptual.load(["vmaf"])


# --- the command -----------------------------------------------------------------------------------------------------


def evaluate(*arguments: str | os.PathLike, baselines: str = "median-3x3") -> int:
    return main(["evaluate", *map(str, arguments), "--device", "cpu", "--baselines", baselines])


def test_the_restraint_counts_unless_it_is_switched_off(clean, tmp_path, capsys):
    weights = tmp_path / "spared.safetensors"
    nothing = Restraint(torch.zeros(2, 256), torch.full((2,), -50.0), 64)  # no change passes
    add_restraint("hidra-tiny", nothing, weights)
    psnr = []
    for number, options in enumerate([[], ["--no-restraint"]]):
        out = tmp_path / str(number)
        options += ["--weights", weights, "--tasks", "untouched", "--metrics", "psnr"]
        assert evaluate(clean, "-o", out, *options, baselines="none") == 0
        content = json.loads((out / "evaluation.json").read_text())
        psnr.append(float(content["tasks"][0]["means"]["spared"]["psnr"]))
    assert psnr[0] > psnr[1] + 3


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
    assert evaluate(clean, "-o", out, "--tasks", "fpn", "--metrics", "psnr", "--overwrite", baselines="none") == 0
    assert [path.name for path in out.glob("*.png")] == ["sheet-fpn.png"]


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


def test_the_command_reads_thermal_files_and_refuses_several_pages(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    flir_jpeg(tmp_path / "in" / "a.jpg", fff(frame()))
    (tmp_path / "in" / "b.fff").write_bytes(fff(frame(seed=1)))
    options = ["--tasks", "degraded", "--quiet", "--keep-outputs"]
    assert evaluate(tmp_path / "in", "-o", tmp_path / "out", *options, baselines="none") == 0
    for name, source in (("a.png", "a.jpg"), ("b.png", "b.fff")):
        shown = np.asarray(Image.open(tmp_path / "out" / "outputs" / "degraded" / "input" / name))
        assert np.array_equal(shown, metrics.to_8_bit(read_grey(tmp_path / "in" / source)[0]))
    tiff_pages(tmp_path / "in" / "c.tiff", [frame(), frame()])
    assert evaluate(tmp_path / "in", "-o", tmp_path / "other", *options, baselines="none") == 2
    assert "c.tiff has 2 pages" in capsys.readouterr().err


def test_the_help_lists_all_that_can_be_chosen(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "2000")  # no word is broken at its hyphens
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    words = set(re.split(r"[\s,;():]+", capsys.readouterr().out))
    assert {*TASKS, *map(runner.slug, BASELINES), *measures.SELECTABLE, *fusion.METHODS} <= words


def test_degraded_images_with_and_without_references(clean, tmp_path, capsys):
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


def test_an_unknown_baseline_and_an_unreadable_image(clean, tmp_path, capsys):
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
