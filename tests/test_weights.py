"""The weights file: what is written comes back, and a bad file says what is wrong with it."""

import errno
import json
import os
from dataclasses import replace

import pytest
import torch
from helpers.reference import SMALL_DINOV2, assert_same, load, make_probes, make_restraint, make_small_dem, make_weights
from safetensors.torch import save_file

from hidra_core import Weights, load_weights, save_weights
from hidra_core.dem import FITS
from hidra_core.images.files import read_safetensors
from hidra_core.readouts import MAPS
from hidra_core.weights import add_probes, add_restraint, load_dinov2


@pytest.fixture(scope="module")
def saved(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "whole.safetensors"
    save_weights(weights, path)
    return path


@pytest.fixture(scope="module")
def without_dinov2(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "light.safetensors"
    save_weights(weights, path, include_dem_backbone=False)
    return path


@pytest.fixture(scope="module")
def dinov2_folder(weights, tmp_path_factory):
    """DINOv2 in the Hugging Face layout, whose names do not depend on the version of transformers."""
    path = tmp_path_factory.mktemp("dinov2")
    weights.estimator.backbone.save_pretrained(path)
    return path


def parts(weights: Weights) -> dict[str, torch.Tensor]:
    return {
        "text_embedding": weights.text_embedding,
        **weights.adapter.state_dict(prefix="adapter."),
        **{f"dem.{key}": t for key, t in weights.estimator.state_dict().items()},
    }


@pytest.mark.parametrize("use_mia", [True, False])
def test_round_trip_is_exact(tmp_path, use_mia):
    original, path = make_weights(use_mia=use_mia), tmp_path / "w.safetensors"
    save_weights(original, path)
    loaded = load_weights(path)
    assert (loaded.backbone, loaded.training, loaded.source) == ("reference", {"steps": 3}, str(path))
    assert loaded.architecture == original.architecture
    before, after = parts(original), parts(loaded)
    assert before.keys() == after.keys()
    for key, tensor in before.items():
        assert_same(after[key], tensor.half().float() if key.startswith("dem.backbone.") else tensor)
    assert loaded.adapter.layers["unet"].names == original.adapter.layers["unet"].names


def test_loaded_weights_are_ready_to_run(saved):
    loaded = load_weights(saved)
    for module in (loaded.estimator, loaded.adapter):
        assert not any(m.training for m in module.modules())
        assert {(p.dtype, p.device.type, p.requires_grad) for p in module.parameters()} == {
            (torch.float32, "cpu", False)
        }


def test_architecture_of_the_reference(saved):
    assert load_weights(saved).architecture == {
        "unet_rank": 32,
        "vae_rank": 16,
        "unet_scale": 0.25,
        "vae_scale": 0.5,
        "unet_layers": 256,
        "vae_layers": 30,
        "unet_blocks": 10,
        "vae_blocks": 6,
        "unet_channels": 32,
        "latent_channels": 4,
        "text_width": 16,
        "mia": True,
    }


def test_half_precision_file(weights, saved, tmp_path):
    path = tmp_path / "half.safetensors"
    save_weights(weights, path, dtype=torch.float16)
    assert path.stat().st_size < 0.6 * saved.stat().st_size
    assert_same(load_weights(path).text_embedding, weights.text_embedding.half().float())


def test_keys_of_the_format(saved):
    tensors, metadata = read_safetensors(saved)
    assert {
        "lora.unet.conv_out.down",
        "lora.vae.encoder.conv_in.up",
        "conv_in.weight",
        "modulation.unet.degradation.weight",
        "modulation.vae.embedding",
        "text_embedding",
    } <= tensors.keys()
    assert (metadata["format"], metadata["version"]) == ("hidra", "1")
    assert json.loads(metadata["dem_backbone"]) == SMALL_DINOV2
    assert all(tensor.dtype == torch.float16 for key, tensor in tensors.items() if key.startswith("dem.backbone."))


def test_names_do_not_depend_on_the_version_of_transformers(saved):
    """Versions 4 and 5 call the parts of DINOv2's attention differently; files keep the Hugging Face layout."""
    tensors, _ = read_safetensors(saved)
    assert "dem.backbone.encoder.layer.0.attention.attention.query.weight" in tensors
    assert "dem.backbone.encoder.layer.3.attention.output.dense.bias" in tensors


@torch.no_grad()
def test_dinov2_beside_the_weights(weights, without_dinov2, dinov2_folder):
    images = load("dem")["image"]
    expected = weights.estimator(images)
    for place in (dinov2_folder, str(dinov2_folder / "model.safetensors")):
        assert_same(load_weights(without_dinov2, dem_backbone=place).estimator(images), expected)


def test_weights_without_dinov2_ask_for_it(without_dinov2):
    with pytest.raises(ValueError, match=r"light\.safetensors was written without.*dinov2-with-registers-base"):
        load_weights(without_dinov2)


def test_bad_places_for_dinov2(without_dinov2, saved, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*model\.safetensors"):
        load_weights(without_dinov2, dem_backbone=tmp_path)
    with pytest.raises(ValueError, match=r"whole\.safetensors lacks the tensor"):
        load_weights(without_dinov2, dem_backbone=saved)


def test_dinov2_of_another_size(without_dinov2, tmp_path):
    make_small_dem(hidden_size=64).backbone.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"model\.safetensors has .* of shape .*64"):
        load_weights(without_dinov2, dem_backbone=tmp_path)
    with pytest.raises(ValueError, match=r"model\.safetensors has .* of shape .*32"):
        load_dinov2(make_small_dem().backbone, tmp_path)


def test_built_in_weights(tiny):
    backbone, weights = tiny
    assert weights.backbone == backbone.name == "hidra-tiny"
    for network in ("unet", "vae"):
        weights.adapter.check_fits(network, backbone.lookup(network))


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.safetensors"):
        load_weights(tmp_path / "none.safetensors")


@pytest.mark.parametrize("content", [b"", b"hello", b"%PDF-1.7 renamed, and longer than a header's length"])
def test_renamed_file(tmp_path, content):
    path = tmp_path / "renamed.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"renamed\.safetensors is not a readable safetensors file"):
        load_weights(path)


@pytest.mark.parametrize("share", [0.0001, 0.5, 0.9999])
def test_truncated_file(saved, tmp_path, share):
    path, content = tmp_path / "cut.safetensors", saved.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"cut\.safetensors is not a readable safetensors file.*truncated"):
        load_weights(path)


def altered(key, change):
    """A tensor changed, or removed where ``change`` gives None."""

    def damage(tensors, header):
        tensors[key] = change(tensors[key])
        if tensors[key] is None:
            del tensors[key]

    return damage


def added(key, *shape):
    return lambda tensors, header: tensors.update({key: torch.zeros(*shape)})


def stated(key, value):
    return lambda tensors, header: header.update({key: value})


def stated_within(key, **values):
    def damage(tensors, header):
        header[key] = json.dumps(json.loads(header[key]) | values)

    return damage


def unstated(key):
    return lambda tensors, header: header.pop(key)


def all_of(prefix, change):
    def damage(tensors, header):
        for key in [key for key in tensors if key.startswith(prefix)]:
            altered(key, change)(tensors, header)

    return damage


def removed(tensor):
    return None


def with_nan(tensor):
    tensor = tensor.clone()
    tensor.view(-1)[-1] = float("nan")
    return tensor


def with_a_row_more(tensor):
    return torch.cat([tensor, tensor[:1]])


BAD = {
    "foreign": (lambda tensors, header: header.clear(), "not a HiDRA weights file"),
    "other format": (stated("format", "pt"), "not a HiDRA weights file"),
    "newer version": (stated("version", "2"), "version 2 of the format"),
    "no version": (unstated("version"), "version None"),
    "no lora": (all_of("lora.vae.", removed), r"no 'lora\.vae\.…' tensors"),
    "no down": (altered("lora.unet.conv_out.down", removed), r"lacks the tensor 'lora\.unet\.conv_out\.down'"),
    "no up": (altered("lora.unet.conv_out.up", removed), r"lacks the tensor 'lora\.unet\.conv_out\.up'"),
    "no conv_in": (altered("conv_in.bias", removed), r"lacks the tensor 'conv_in\.bias'"),
    "no head": (altered("dem.head.0.weight", removed), r"lacks the tensor 'dem\.head\.0\.weight'"),
    "no part of MIA": (altered("dem.attention.temperature", removed), r"lacks .*'dem\.attention\.temperature'"),
    "no embedding": (altered("modulation.vae.embedding", removed), r"lacks .*'modulation\.vae\.embedding'"),
    "no fuse": (altered("modulation.unet.fuse.bias", removed), r"lacks .*'modulation\.unet\.fuse\.bias'"),
    "no text": (altered("text_embedding", removed), "lacks the tensor 'text_embedding'"),
    "part of DINOv2 missing": (altered("dem.backbone.layernorm.weight", removed), r"lacks .*'dem\.backbone\.lay"),
    "extra tensor": (added("surprise", 3), "1 tensors that do not belong, the first 'surprise'"),
    "extra in the head": (added("dem.head.9.weight", 3), r"do not belong, the first 'dem\.head\.9\.weight'"),
    "nonsense layer": (
        lambda tensors, header: tensors.update(
            {"lora.vae.nonsense.down": torch.zeros(16, 4), "lora.vae.nonsense.up": torch.zeros(4, 16)}
        ),
        "nonsense",
    ),
    "layer of no block": (
        lambda tensors, header: tensors.update(
            {
                "lora.unet.up_blocks.7.resnets.0.conv1.down": torch.zeros(32, 4, 3, 3),
                "lora.unet.up_blocks.7.resnets.0.conv1.up": torch.zeros(4, 32),
            }
        ),
        "10 block embeddings for the unet",
    ),
    "one rank differs": (altered("lora.unet.conv_out.down", lambda t: t[:5]), r"'lora\.unet\.conv_out\.up' of shape"),
    "up of another rank": (altered("lora.vae.encoder.conv_in.up", lambda t: t[:, :5]), r"conv_in\.up' of shape"),
    "up with a kernel": (altered("lora.unet.conv_out.up", lambda t: t[..., None]), r"conv_out\.up' of shape"),
    "down of three dimensions": (altered("lora.unet.conv_out.down", lambda t: t[0]), "with 3 dimensions"),
    "wrong width": (altered("dem.head.0.weight", lambda t: t[:, :-1]), r"'dem\.head\.0\.weight' of shape"),
    "wrong text": (altered("text_embedding", lambda t: t[:, :70]), "'text_embedding' of shape"),
    "bias of another length": (altered("conv_in.bias", lambda t: t[:-1]), r"'conv_in\.bias' of shape"),
    "whole numbers": (altered("conv_in.weight", lambda t: t.int()), r"'conv_in\.weight'"),
    "one NaN": (altered("lora.unet.conv_out.up", with_nan), r"'lora\.unet\.conv_out\.up' that are not finite"),
    "NaN in DINOv2": (altered("dem.backbone.embeddings.cls_token", with_nan), "cls_token' that are not finite"),
    "infinity": (altered("text_embedding", lambda t: t / 0), "'text_embedding' that are not finite"),
    "blocks of no depth": (altered("modulation.unet.embedding", with_a_row_more), "11 block embeddings for the unet"),
    "no architecture": (unstated("architecture"), "no readable 'architecture'"),
    "architecture not JSON": (stated("architecture", "{"), "no readable 'architecture'"),
    "training not a dict": (stated("training", "[]"), "no readable 'training'"),
    "rank contradicts": (stated_within("architecture", unet_rank=64), "says unet_rank = 64.*tensors say 32"),
    "mia contradicts": (stated_within("architecture", mia=False), "says mia = False.*tensors say True"),
    "no dem_backbone": (unstated("dem_backbone"), "no readable 'dem_backbone'"),
    "unknown field": (stated_within("dem_backbone", wings=2), "unknown fields.*wings"),
    "fewer blocks": (stated_within("dem_backbone", num_hidden_layers=2), "DEM backbone that cannot be built"),
    "more blocks": (stated_within("dem_backbone", num_hidden_layers=5), r"lacks .*encoder\.layer\.4"),
    "other width": (stated_within("dem_backbone", hidden_size=48), "of shape .*; expected"),
    "odd heads": (stated_within("dem_backbone", num_attention_heads=5), "of shape .*; expected"),
    "words for numbers": (stated_within("dem_backbone", hidden_size="wide"), "DEM backbone that cannot be built"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file(saved, tmp_path, case):
    assert_damage_is_named(saved, tmp_path, *BAD[case])


def assert_damage_is_named(whole, folder, damage, message):
    tensors, header = read_safetensors(whole)
    damage(tensors, header)
    path = folder / "bad.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, header)
    with pytest.raises(ValueError, match=rf"(?s)^{path}.*{message}"):
        load_weights(path)


def assert_same_probes(loaded, expected):
    assert loaded.header() == expected.header()
    for name in MAPS:
        assert_same(loaded.weight[name], expected.weight[name])
        assert_same(loaded.bias[name], expected.bias[name])


def test_files_without_probes_have_none(saved):
    assert load_weights(saved).probes is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_probes_come_back_exactly_whatever_the_type_of_the_rest(tmp_path, dtype):
    original, path = make_weights(), tmp_path / "w.safetensors"
    original.probes = make_probes()
    save_weights(original, path, dtype=dtype)
    loaded = load_weights(path)
    assert_same_probes(loaded.probes, original.probes)
    save_weights(loaded, path, dtype=dtype)
    assert_same_probes(load_weights(path).probes, original.probes)


def test_adding_probes_leaves_the_rest_of_a_file_bit_for_bit(tmp_path):
    path, copy = tmp_path / "w.safetensors", tmp_path / "probed.safetensors"
    save_weights(make_weights(), path, dtype=torch.float16)
    add_probes(path, make_probes(1), copy)
    add_probes(copy, make_probes(2), copy)  # in place of the first
    (before, header), (after, new_header) = read_safetensors(path), read_safetensors(copy)
    assert new_header.items() >= header.items()
    for key, tensor in before.items():
        assert_same(after[key], tensor)
    maps = {f"probe.{name}.{part}" for name in MAPS for part in ("weight", "bias")}
    assert after.keys() - before.keys() == maps | {"probe.directions"}
    assert_same_probes(load_weights(copy).probes, make_probes(2))


def test_probes_are_added_to_weights_files_only(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"foreign\.safetensors is not a HiDRA weights file"):
        add_probes(path, make_probes(), tmp_path / "copy.safetensors")
    assert list(tmp_path.iterdir()) == [path]


def stated_of_a_kind(**values):
    def damage(tensors, header):
        probes = json.loads(header["probes"])
        probes["kinds"][2] |= values
        header["probes"] = json.dumps(probes)

    return damage


BAD_PROBES = {
    "no header": (unstated("probes"), "no readable 'probes'"),
    "header not JSON": (stated("probes", "{"), "no readable 'probes'"),
    "header of a file without": (all_of("probe.", removed), r"lacks the tensor 'probe\.presence\.weight'"),
    "one map missing": (altered("probe.level.bias", removed), r"lacks the tensor 'probe\.level\.bias'"),
    "no directions": (altered("probe.directions", removed), r"lacks the tensor 'probe\.directions'"),
    "directions of other probes": (altered("probe.directions", lambda t: t * 2), "do not change the amounts"),
    "other width": (altered("probe.amount.weight", lambda t: t[:, :-1]), r"'probe\.amount\.weight' of shape"),
    "a kind more": (altered("probe.amount.bias", lambda t: torch.cat([t, t[:1]])), r"'probe\.amount\.bias' of shape"),
    "NaN": (altered("probe.presence.weight", with_nan), r"'probe\.presence\.weight' that are not finite"),
    "surprise": (added("probe.surprise", 3), r"do not belong, the first 'probe\.surprise'"),
    "unknown kind": (stated_of_a_kind(name="rain"), "probes that cannot be used: .*rain.*; expected stripes"),
    "kinds missing": (stated_within("probes", kinds=[]), "probes that cannot be used"),
    "levels differ": (stated_within("probes", levels=["bad", "worse"]), "probes that cannot be used: levels"),
    "full scale 0": (stated_of_a_kind(full=0.0), "probes that cannot be used: the probe of blur"),
    "unknown entry": (stated_of_a_kind(wings=2), "probes that cannot be used: .*wings"),
    "words for numbers": (stated_of_a_kind(threshold="two"), "probes that cannot be used"),
}


@pytest.mark.parametrize("case", BAD_PROBES)
def test_bad_probes(weights, tmp_path, case):
    whole = tmp_path / "whole.safetensors"
    save_weights(replace(weights, probes=make_probes()), whole)
    assert_damage_is_named(whole, tmp_path, *BAD_PROBES[case])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_restraint_comes_back_exactly_whatever_the_type_of_the_rest(tmp_path, dtype):
    original, path = replace(make_weights(), restraint=make_restraint()), tmp_path / "w.safetensors"
    save_weights(original, path, dtype=dtype)
    assert_same_restraint(load_weights(path).restraint, original.restraint)


def test_adding_a_restraint_leaves_the_rest_of_a_file_bit_for_bit(tmp_path):
    path, copy = tmp_path / "w.safetensors", tmp_path / "spared.safetensors"
    save_weights(replace(make_weights(), probes=make_probes()), path, dtype=torch.float16)
    assert load_weights(path).restraint is None
    add_restraint(path, make_restraint(1), copy)
    add_restraint(copy, make_restraint(2), copy)  # in place of the first
    (before, header), (after, new_header) = read_safetensors(path), read_safetensors(copy)
    assert new_header.items() >= header.items()
    for key, tensor in before.items():
        assert_same(after[key], tensor)
    assert after.keys() - before.keys() == {"restraint.weight", "restraint.bias"}
    assert_same_restraint(load_weights(copy).restraint, make_restraint(2))


def assert_same_restraint(loaded, expected):
    assert loaded.header() == expected.header()
    assert_same(loaded.weight, expected.weight)
    assert_same(loaded.bias, expected.bias)


BAD_RESTRAINTS = {
    "no header": (unstated("restraint"), "no readable 'restraint'"),
    "header of a file without": (all_of("restraint.", removed), r"lacks the tensor 'restraint\.weight'"),
    "other width": (altered("restraint.weight", lambda t: t[:, :-1]), r"'restraint\.weight' of shape"),
    "NaN": (altered("restraint.bias", with_nan), r"'restraint\.bias' that are not finite"),
    "no cut-off": (stated_within("restraint", cutoff=None), "restraint that cannot be used: .*'cutoff'"),
    "cut-off of nothing": (stated_within("restraint", cutoff=0), "restraint that cannot be used: cutoff"),
}


@pytest.mark.parametrize("case", BAD_RESTRAINTS)
def test_bad_restraints(weights, tmp_path, case):
    whole = tmp_path / "whole.safetensors"
    save_weights(replace(weights, restraint=make_restraint()), whole)
    assert_damage_is_named(whole, tmp_path, *BAD_RESTRAINTS[case])


def test_how_the_dem_fits_images_to_its_patches_is_kept(tmp_path):
    for fit in FITS:
        original, path = make_weights(), tmp_path / f"{fit}.safetensors"
        original.estimator.fit = fit
        save_weights(original, path)
        assert load_weights(path).estimator.fit == fit
    tensors, header = read_safetensors(path)
    save_file(tensors, path, {key: value for key, value in header.items() if key != "dem_fit"})
    assert load_weights(path).estimator.fit == "resize"  # of files before there was a choice
    save_file(tensors, path, header | {"dem_fit": "fold"})
    with pytest.raises(ValueError, match=r"fits images to its patches by 'fold'; this release knows resize and crop"):
        load_weights(path)


def test_foreign_file(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({"model.layers.0.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(ValueError, match=r"foreign\.safetensors is not a HiDRA weights file"):
        load_weights(path)


def test_values_that_are_not_finite_are_not_written(tmp_path):
    broken = make_weights()
    broken.text_embedding = broken.text_embedding * 1e6
    with pytest.raises(ValueError, match=r"w\.safetensors: not written, 'text_embedding'.*float16"):
        save_weights(broken, tmp_path / "w.safetensors", dtype=torch.float16)
    assert not list(tmp_path.iterdir())


def test_other_suffixes_are_refused(weights, tmp_path):
    with pytest.raises(ValueError, match=r"w\.pt: weights are written as \.safetensors"):
        save_weights(weights, tmp_path / "w.pt")
    assert not list(tmp_path.iterdir())


def test_disk_full_leaves_the_old_file(weights, tmp_path):
    resource = pytest.importorskip("resource", reason="no file size limits on this system")
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"the old file")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match=rf"cannot write {path}"):
            save_weights(weights, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"the old file"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["open", "replace"])
def test_no_permission_leaves_the_old_file(weights, tmp_path, monkeypatch, call):
    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    path = tmp_path / "w.safetensors"
    path.write_bytes(b"the old file")
    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(PermissionError, match=rf"cannot write {path}: Permission denied"):
        save_weights(weights, path)
    assert path.read_bytes() == b"the old file"
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folder_is_named(weights, tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"cannot write {tmp_path / 'none' / 'w.safetensors'}"):
        save_weights(weights, tmp_path / "none" / "w.safetensors")
