"""Probes: what they read off a vector, moving a vector along them, and fitting them to known degradations."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from helpers.reference import make_probes, make_small_dem, make_weights
from PIL import Image
from scipy.special import expit, softmax

from hidra_core import degradations, enhance, estimate, load_backbone, load_weights, save_weights, scenes
from hidra_core.cli import main
from hidra_core.enhance import DegradationVectors
from hidra_core.images.files import read_safetensors
from hidra_core.readouts import KINDS, LEVELS, MAPS, Probes, directions
from hidra_core.vectors import edit, vector_report
from train.probing import labelled, linear
from train.probing import probes as program

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def vectors() -> torch.Tensor:
    return torch.randn(3, 256, generator=torch.Generator().manual_seed(5)) * 0.1


def counting_probes() -> Probes:
    """Read-outs are the first entries of the vector: presence 0-5, amounts 6-11, levels 12-15."""
    weight, first = {}, 0
    for name, outputs in MAPS.items():
        weight[name] = torch.zeros(outputs, 256)
        weight[name][range(outputs), range(first, first + outputs)] = 1
        first += outputs
    bias = {name: torch.zeros(outputs) for name, outputs in MAPS.items()}
    return Probes(make_probes().kinds, directions(weight, torch.eye(256)), weight, bias)


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_vector_is_read_kind_by_kind() -> None:
    vector = torch.zeros(256)
    vector[:6] = torch.tensor([3.0, -3, 0.1, -1, -1, -1])
    vector[6:12] = torch.tensor([4.0, 1.0, 99.0, -7.0, 0.0, 2.0])
    vector[12:16] = torch.tensor([0.0, 1.0, 2.0, 0.0])
    (reading,) = counting_probes().read(vector[None])
    assert [kind.kind.name for kind in reading.kinds] == list(KINDS)
    assert [kind.present for kind in reading.kinds] == [True, False, True, False, False, False]
    assert reading.kinds[0].probability == pytest.approx(1 / (1 + np.exp(-3)))
    assert [kind.amount for kind in reading.kinds] == pytest.approx([4, 1, 8, 0, 0, 2])  # within 0 and full scale
    assert [kind.severity for kind in reading.kinds] == pytest.approx([0.5, 0.125, 1, 0, 0, 0.25])
    assert reading.level == "severe"
    assert reading.levels == pytest.approx(softmax([0, 1, 2, 0]))


def test_without_any_kind_there_is_no_level() -> None:
    vector = torch.zeros(1, 256)
    vector[:, :6] = -1
    vector[:, 15] = 9
    assert counting_probes().read(vector)[0].level is None


def test_each_vector_of_a_batch_is_read_alone(vectors) -> None:
    probes = make_probes()
    together = probes.read(vectors)
    for vector, reading in zip(vectors, together, strict=True):
        (alone,) = probes.read(vector[None])
        assert alone.levels == pytest.approx(reading.levels)
        assert [k.amount for k in alone.kinds] == pytest.approx([k.amount for k in reading.kinds], abs=1e-4)


def test_a_reading_becomes_json(vectors) -> None:
    (reading, *_) = make_probes().read(vectors)
    record = json.loads(json.dumps(reading.to_dict()))
    assert list(record["levels"]) == list(LEVELS)
    assert list(record["kinds"]) == list(KINDS)
    assert record["kinds"]["blur"].keys() == {"probability", "amount", "unit", "severity"}
    assert record["kinds"]["noise"]["amount"] == pytest.approx(reading.kinds[1].amount, abs=1e-4)


# --- moving ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by", [2.5, -1.0, 0.0])
def test_moving_changes_one_kind_by_the_wanted_amount_and_no_other(vectors, kind, by) -> None:
    probes, index = make_probes(), KINDS.index(kind)
    before = vectors.clone()
    moved = probes.moved(vectors, kind, by)
    assert torch.equal(vectors, before)
    assert (moved.shape, moved.dtype) == (vectors.shape, vectors.dtype)
    change = probes.outputs("amount", moved) - probes.outputs("amount", vectors)
    expected = torch.zeros(3, len(KINDS))
    expected[:, index] = by
    torch.testing.assert_close(change, expected, rtol=0, atol=1e-4)
    presence = probes.outputs("presence", moved) - probes.outputs("presence", vectors)
    presence[:, index] = 0
    torch.testing.assert_close(presence, torch.zeros_like(presence), rtol=0, atol=1e-4)


def test_moving_goes_where_images_differ() -> None:
    """Among the changes with the wanted read-outs it is the smallest one relative to the images' covariance."""
    probes = make_probes()
    random = torch.Generator().manual_seed(1)
    mixing = torch.randn(256, 256, generator=random, dtype=torch.float64) * torch.logspace(0, -2, 256).double()
    covariance = mixing @ mixing.T
    others = [0, 1, 3, 4, 5]
    rows = torch.cat([probes.weight["amount"][2:3], probes.weight["amount"][others], probes.weight["presence"][others]])
    direction = directions(probes.weight, covariance)[2].double()
    wanted = torch.zeros(len(rows), dtype=torch.float64)
    wanted[0] = 1
    # in coordinates in which the images differ alike in every direction, the smallest is the pseudo-inverse's
    smallest = mixing @ (torch.linalg.pinv(rows.double() @ mixing) @ wanted)
    torch.testing.assert_close(direction, smallest, rtol=1e-4, atol=1e-6)


def test_moving_keeps_half_precision(vectors) -> None:
    assert make_probes().moved(vectors.half(), "noise", 1.0).dtype == torch.float16


def test_bad_moves_say_what_is_wrong(vectors) -> None:
    probes = make_probes()
    with pytest.raises(ValueError, match="unknown kind of degradation 'rain'; known kinds: stripes, noise"):
        probes.moved(vectors, "rain", 1.0)
    with pytest.raises(ValueError, match="change of noise must be a finite number, got nan"):
        probes.moved(vectors, "noise", float("nan"))
    weight = {name: rows.clone() for name, rows in probes.weight.items()}
    weight["amount"][1] = weight["amount"][0] + weight["presence"][3]
    weight["amount"][2] = 0
    entangled = Probes(probes.kinds, directions(weight, torch.eye(256)), weight, probes.bias)
    for kind in ("noise", "blur"):
        with pytest.raises(ValueError, match=f"{kind} cannot be moved alone"):
            entangled.moved(vectors, kind, 1.0)


def test_maps_of_another_shape_are_refused() -> None:
    probes = make_probes()
    with pytest.raises(ValueError, match=r"the map 'level' of the probes has shapes \(4, 255\)"):
        Probes(probes.kinds, probes.directions, probes.weight | {"level": torch.zeros(4, 255)}, probes.bias)
    with pytest.raises(ValueError, match=r"the directions of the probes have shape \(6, 255\)"):
        Probes(probes.kinds, probes.directions[:, :-1], probes.weight, probes.bias)
    with pytest.raises(ValueError, match="do not change the amounts of their kinds by 1"):
        Probes(probes.kinds, probes.directions * 2, probes.weight, probes.bias)


# --- edits -----------------------------------------------------------------------------------------------------------


def test_an_edit_moves_the_bars_named_and_no_other(vectors) -> None:
    weights = dataclasses.replace(make_weights(), probes=make_probes())
    before = weights.probes.read(vectors)
    edited = edit(DegradationVectors(vectors, weights), {"noise": 0.2, "blur": -1.0})
    after = weights.probes.read(edited.vectors)
    assert edited.weights is weights
    for old, new in zip(before, after, strict=True):
        shares = dict(zip(KINDS, zip(old.kinds, new.kinds, strict=True), strict=True))
        was, now = shares.pop("noise")
        assert now.severity == pytest.approx(min(was.severity + 0.2, 1.0), abs=1e-4)
        was, now = shares.pop("blur")
        assert now.severity == pytest.approx(0, abs=1e-4)
        for was, now in shares.values():
            assert now.severity == pytest.approx(was.severity, abs=1e-4)
            assert now.probability == pytest.approx(was.probability, abs=1e-4)


def test_no_change_leaves_the_vector_to_the_bit(vectors) -> None:
    weights = dataclasses.replace(make_weights(), probes=make_probes())
    assert torch.equal(edit(DegradationVectors(vectors, weights), dict.fromkeys(KINDS, 0.0)).vectors, vectors)


def test_a_bar_stops_at_its_ends() -> None:
    weights = dataclasses.replace(make_weights(), probes=counting_probes())
    vector = torch.zeros(1, 256)
    vector[0, 6:8] = torch.tensor([-3.0, 1000.0])  # stripes below none, noise beyond its bar
    degradation = DegradationVectors(vector, weights)
    assert torch.equal(edit(degradation, {"stripes": -0.5, "noise": 0.5}).vectors, vector)
    moved = edit(degradation, {"blur": 1.0}).vectors[0]
    assert moved[8].item() == pytest.approx(weights.probes.kinds[2].full)


@pytest.mark.parametrize(
    ("probes", "changes", "message"),
    [
        (False, {"noise": 0.1}, "have no probes"),
        (True, {"fog": 0.1}, "unknown kind of degradation 'fog'"),
        (True, {"noise": 1.5}, "noise must be from -1"),
        (True, {"noise": float("nan")}, "noise must be from -1"),
    ],
)
def test_bad_edits_are_refused(probes: bool, changes: dict[str, float], message: str, vectors) -> None:
    weights = dataclasses.replace(make_weights(), probes=make_probes() if probes else None)
    with pytest.raises(ValueError, match=message):
        edit(DegradationVectors(vectors, weights), changes)


def test_the_built_in_model_follows_an_edit() -> None:
    """More noise in the vector gives a smoother image, more blur a sharper one, more low contrast more greys."""
    clean = torch.from_numpy(scenes.render("street", 96, 128, 2))[None, None]
    record = degradations.sample("moderate", torch.Generator().manual_seed(3))
    image = degradations.apply(clean, record).movedim(1, -1)
    backbone, weights = load_backbone("hidra-tiny", dtype="fp32"), load_weights("hidra-tiny")
    estimated = estimate(image, weights)

    def look(kind: str, change: float) -> tuple[float, float]:
        enhanced = enhance(image, backbone, edit(estimated, {kind: change}))
        return enhanced.diff(dim=2).abs().mean().item(), enhanced.std().item()

    less, more = ([look(kind, change) for kind in ("noise", "blur", "low contrast")] for change in (-0.3, 0.3))
    assert more[0][0] < 0.9 * less[0][0]
    assert more[1][0] > 1.1 * less[1][0]
    assert more[2][1] > 1.05 * less[2][1]  # the corrector reads the image, and holds against it


def test_vectors_without_probes_cannot_be_described(vectors) -> None:
    with pytest.raises(ValueError, match="have no probes that could describe a vector"):
        vector_report(DegradationVectors(vectors, dataclasses.replace(make_weights(), probes=None)))


def test_vectors_are_described_without_an_image(vectors) -> None:
    weights = dataclasses.replace(make_weights(), probes=make_probes())
    lines = vector_report(DegradationVectors(vectors, weights), limit=2).splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("vector")] == ["vector 1", "vector 2"]
    assert lines[-1] == "… and 1 more vectors"


# --- linear fits -----------------------------------------------------------------------------------------------------


def planted(count: int = 400, width: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors of very unequal scales, a direction, and the image of each vector."""
    random = np.random.default_rng(0)
    scales = 10.0 ** random.uniform(-2, 2, width)
    return random.normal(3, 1, (count, width)) * scales, random.normal(size=width) / scales, np.arange(count) // 4


def test_regression_finds_a_linear_value_on_the_vectors_as_they_are() -> None:
    vectors, direction, images = planted()
    probe = linear.regressor(vectors, vectors @ direction - 7, images)
    assert [part.shape for part in probe] == [(1, 12), (1,)]
    error = linear.outputs(probe, vectors)[:, 0] - (vectors @ direction - 7)
    assert np.abs(error).mean() < 0.1


def test_classification_finds_planted_labels() -> None:
    vectors, direction, images = planted()
    score = vectors @ direction
    labels = np.digitize(score, np.quantile(score, [0.33, 0.66]))
    probe = linear.classifier(vectors, labels, images)
    assert probe[0].shape == (3, 12)
    assert (linear.outputs(probe, vectors).argmax(axis=1) == labels).mean() > 0.9
    two = linear.classifier(vectors, labels // 2, images)
    assert two[0].shape == (1, 12)
    assert ((linear.outputs(two, vectors)[:, 0] > 0) == labels // 2).mean() > 0.9


def test_calibration_makes_probabilities_honest() -> None:
    random = np.random.default_rng(0)
    honest = random.normal(0.5, 2, 20000)
    true = random.random(20000) < expit(honest)
    boastful = 3 * honest - 2
    assert linear.calibration_error(expit(boastful), true) > 0.1
    slope, offset = linear.platt(boastful, true.astype(int))
    assert (slope, offset) == (pytest.approx(1 / 3, abs=0.02), pytest.approx(2 / 3, abs=0.05))
    assert linear.calibration_error(expit(slope * boastful + offset), true) < 0.02
    assert linear.temperature(3 * np.stack([honest, 0 * honest], 1), np.where(true, 0, 1)) == pytest.approx(
        1 / 3, abs=0.02
    )


def test_a_probe_that_is_wrong_is_silenced() -> None:
    true = np.array([1, 1, 1, 0, 0, 0, 0, 0])
    slope, offset = linear.platt(np.where(true, -1.0, 1.0), true)
    assert (slope, expit(offset)) == (0, pytest.approx(3 / 8))
    assert linear.straightened(-np.arange(5.0), np.arange(5.0)) == (0, 2)
    assert linear.straightened(np.ones(5), np.arange(5.0)) == (0, 2)


def test_straightening_is_exact_on_a_line() -> None:
    found = np.arange(6.0)
    assert linear.straightened(found, 2 * found + 1) == (pytest.approx(2), pytest.approx(1))
    weight, bias = linear.calibrated((np.array([[1.0, 2.0]]), np.array([3.0])), 2, 1)
    assert (weight.tolist(), bias.tolist()) == ([[2, 4]], [7])


# --- what is known of the frames -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_alone_means_one_kind_that_can_be_seen(kind) -> None:
    definition = labelled.DEFINITIONS[KINDS.index(kind)]
    for seed in range(50):
        record = degradations.sample(labelled.ALONE[kind], torch.Generator().manual_seed(seed))
        found = dict(zip(KINDS, labelled.amounts(record), strict=True))
        assert [name for name, amount in found.items() if amount > 0] == [kind]
        assert definition.threshold <= found[kind] <= definition.full * 1.05


def test_nothing_is_nothing() -> None:
    assert labelled.amounts(degradations.sample(labelled.MIXTURES["untouched"], torch.Generator())) == [0] * 6


def test_amounts() -> None:
    record = degradations.DegradationRecord(
        low_contrast=degradations.LowContrast(0.3, 0.2),
        blur=degradations.Blur(9, 1.0, 2.0, 0.0),
        downscale=degradations.Downscale(4, "area"),
        optical=degradations.Optical(0.5, 0.5, 40, True, "mirror"),
        stripes=(degradations.Stripes("row", 0.03125, 3.0), degradations.Stripes("column", 0.0, 12.0)),
        gaussian_sigma=4.0,
    )
    assert labelled.amounts(record) == pytest.approx([13, 4, 1.5, 2, 70, 40])


def test_frames_are_the_middle_of_the_image() -> None:
    image = np.zeros((60, 200), dtype=np.uint8)
    image[:, 60:140] = 255
    assert labelled.framed(image, (60, 80)).min() == 1
    assert labelled.framed(image, (30, 40)).shape == (1, 1, 30, 40)
    assert labelled.framed(image, (30, 40)).min() > 0.8  # smoothed at the edge


def test_vectors_do_not_depend_on_how_they_are_batched() -> None:
    images = [np.uint8(255 * scenes.render(name, 64, 80, 1)) for name in list(scenes.SCENES)[:2]]
    estimator = make_small_dem().eval()
    presets, draws = {"noise": labelled.ALONE["noise"], "blur": labelled.ALONE["blur"]}, {"noise": 2, "blur": 1}
    sets = [labelled.degraded_vectors(images, presets, draws, estimator, (42, 56), 0, batch=size) for size in (1, 4)]
    assert sets[0].vectors.shape == (6, 256)
    np.testing.assert_allclose(sets[0].vectors, sets[1].vectors, atol=1e-5)
    assert sets[0].images.tolist() == [0, 0, 0, 1, 1, 1]
    assert sets[0].presets.tolist() == ["noise", "noise", "blur"] * 2
    assert np.ptp(sets[0].amounts[[0, 1, 3, 4], 1]) > 0
    other = labelled.degraded_vectors(images, presets, draws, estimator, (42, 56), 1)
    assert not np.array_equal(other.amounts, sets[0].amounts)
    blurred = sets[0].of(["blur"])
    assert (blurred.vectors.shape, set(blurred.presets)) == ((2, 256), {"blur"})


# --- the program -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a few rendered scenes."""
    folder = tmp_path_factory.mktemp("clean")
    names = list(scenes.SCENES)
    for i in range(16):
        Image.fromarray(np.uint8(255 * scenes.render(names[i % len(names)], 48, 64, i))).save(folder / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def probed(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference weights with probes that the program fitted to their random DEM."""
    place = tmp_path_factory.mktemp("probed")
    save_weights(make_weights(), place / "plain.safetensors", dtype=torch.float16)
    options = ["--images", clean, "--held-out", clean, "--frame", 42, 56, "--count", 8, "--draws", 1]
    arguments = ["--weights", place / "plain.safetensors", *options, "--output", place / "probed.safetensors"]
    assert program.main([str(argument) for argument in arguments]) == 0
    return place / "probed.safetensors"


def test_the_program_writes_a_copy_with_probes(probed: Path) -> None:
    before, _ = read_safetensors(probed.with_name("plain.safetensors"))
    after, _ = read_safetensors(probed)
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())
    probes = load_weights(probed).probes
    assert probes.fitted["images"] == 8
    assert probes.fitted["held_out_frames"] == 16 * (6 + 4 + 2 + program.MIXED_DRAWS)
    assert probes.figures["level_accuracy"] >= 0.2
    for kind in probes.kinds:
        assert 0.4 <= kind.figures["accuracy"] <= 1
        assert 0 <= kind.figures["amount_error"] < kind.full


def test_the_program_says_what_is_wrong(clean: Path, probed: Path, tmp_path: Path, caplog) -> None:
    def said(*options: object) -> str:
        caplog.clear()
        assert program.main(["--images", str(clean), *map(str, options)]) == 1
        return caplog.text

    assert f"{probed} exists; --overwrite" in said("--output", probed)
    assert "name a .safetensors file" in said("--output", tmp_path / "w.pt")
    assert "at least 6 of each are needed" in said("--output", tmp_path / "w.safetensors", "--frame", 42, 56)
    assert str(tmp_path) in said("--output", tmp_path / "w.safetensors", "--images", tmp_path)
    assert not list(tmp_path.iterdir())


def test_fit_and_measure_on_vectors_that_tell_all() -> None:
    """Where amounts and levels lie in the vectors, the figures say so."""
    random = np.random.default_rng(0)
    mixing = random.normal(size=(7, 256))

    def known(images: int) -> labelled.Vectors:
        presets = np.tile([*LEVELS, *["mixed"] * 8, "untouched"], images)
        there = (random.random((len(presets), 6)) < 0.5) & (presets != "untouched")[:, None]
        full = np.array([kind.full for kind in labelled.DEFINITIONS])
        amounts = there * random.uniform(0.5, 1, there.shape) * full
        level = np.array([[LEVELS.index(name) if name in LEVELS else 0] for name in presets.tolist()])
        vectors = np.hstack([amounts / full, level]) @ mixing
        return labelled.Vectors(vectors, np.repeat(np.arange(images), 13), presets, amounts)

    raw = program.fit(known(24))
    kinds, level = program.measure(*program.cross_calibrated(raw, known(12)))
    assert all(figures["accuracy"] > 0.95 for figures in kinds)
    assert all(
        figures["amount_error"] < 0.05 * kind.full for figures, kind in zip(kinds, labelled.DEFINITIONS, strict=True)
    )
    assert level["level_accuracy"] > 0.95
    assert level["false_alarms_when_untouched"] < 0.05


# --- on the shell ----------------------------------------------------------------------------------------------------


def test_estimate_shows_what_the_probes_read(probed: Path, clean: Path, capsys) -> None:
    picture, plain = clean / "00.png", probed.with_name("plain.safetensors")
    assert main(["estimate", str(picture), "--weights", str(probed)]) == 0
    [entry] = json.loads(capsys.readouterr().out)["images"]
    weights = load_weights(probed)
    (reading,) = weights.probes.read(torch.tensor([entry["vector"]]))
    assert entry["degradation"]["kinds"].keys() == set(KINDS)
    for kind in reading.kinds:
        assert entry["degradation"]["kinds"][kind.kind.name]["amount"] == pytest.approx(kind.amount, abs=1e-2)
    assert main(["estimate", str(picture), "--weights", str(plain)]) == 0
    assert "degradation" not in json.loads(capsys.readouterr().out)["images"][0]


def test_estimate_as_text(probed: Path, clean: Path, tmp_path: Path, capsys) -> None:
    pictures = [str(clean / "00.png"), str(clean / "01.png")]
    assert main(["estimate", *pictures, "--weights", str(probed), "--text"]) == 0
    first, *blocks = capsys.readouterr().out.strip().split("\n\n")
    assert first == f"weights: {probed} (for reference)"
    for picture, block in zip(pictures, blocks, strict=True):
        lines = block.splitlines()
        assert lines[0].startswith(f"{picture}: 64×48, measured in the pixels: noise ")
        assert [line[:10].strip("█░") for line in lines[3:]] == [""] * 6
    report = tmp_path / "report.txt"
    assert main(["estimate", *pictures, "--weights", str(probed), "--text", "-o", str(report), "--quiet"]) == 0
    assert report.read_text(encoding="utf-8").count("stripes:") == 2


def test_info_names_the_probes(probed: Path, capsys) -> None:
    assert main(["info", str(probed), "--json"]) == 0
    [description] = json.loads(capsys.readouterr().out)
    probes = load_weights(probed).probes
    assert description["probes"].keys() == {*KINDS, "level", "fitted"}
    assert description["probes"]["low contrast"]["unit"] == "% lost"
    assert description["probes"]["blur"]["accuracy"] == dataclasses.asdict(probes.kinds[2])["figures"]["accuracy"]
    assert main(["info", str(probed)]) == 0
    assert "non-uniformity:" in capsys.readouterr().out
