"""The authors' checkpoints: the same numbers after conversion, and no pickle is ever executed."""

import copy
import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from helpers import SHARED
from helpers.reference import (
    DEM_PARTS,
    HEAD_PARTS,
    RANKS,
    SMALL_DINOV2,
    adapted,
    assert_close,
    assert_same,
    load,
    make_adapter,
    make_reference_dem,
    run,
)

from hidra_core import load_weights, save_weights
from hidra_core.adapter import NETWORKS
from hidra_core.convert import convert_authors, empty_prompt_embedding, read_pickle

AUTHORS = SHARED / "vectors" / "authors_format"
SUFFIX = {"unet": "default", "vae": "vae_skip"}
DINOV2 = SMALL_DINOV2 | {"hidden_size": 768, "num_attention_heads": 12}


def authors_model() -> dict:
    """The reference adapter in the layout of the authors' ``model.pkl``."""
    adapter = make_adapter().requires_grad_(False)
    state: dict = {"state_embeddings": {}}
    for network in NETWORKS:
        layers, head, suffix = adapter.layers[network], adapter.heads[network], SUFFIX[network]
        state[f"rank_{network}"] = RANKS[network]
        state[f"{network}_lora_target_modules"] = layers.names
        lora = state[f"state_dict_{network}"] = {}
        for name, down, up in zip(layers.names, layers.down, layers.up, strict=True):
            lora[f"{name}.lora_A.{suffix}.weight"] = down.data
            lora[f"{name}.lora_B.{suffix}.weight"] = up.data.view(*up.shape, *(1,) * (down.ndim - 2))
        for ours, theirs in HEAD_PARTS.items():
            part, _, position = theirs.partition(".")
            values = head.get_submodule(ours).state_dict()
            state[f"state_dict_{network}_{part}"] = {
                f"{position}.{key}" if position else key: tensor for key, tensor in values.items()
            }
        state["state_embeddings"][f"state_dict_{network}_block"] = {"weight": head.embedding.data}
    state["state_dict_unet"] |= {f"conv_in.{key}": t for key, t in adapter.conv_in.state_dict().items()}
    return state


def authors_dem() -> dict:
    """The reference MIA and head in the layout of the authors' ``DEM.pkl``."""
    dem = make_reference_dem()
    return {
        "state_dict_adapter": {
            f"{theirs}.{key}": tensor
            for ours, theirs in DEM_PARTS.items()
            for key, tensor in dem.get_submodule(ours).state_dict().items()
        }
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("authors")
    torch.save(authors_model(), folder / "model.pkl")
    torch.save(authors_dem(), folder / "DEM.pkl")
    return folder / "model.pkl", folder / "DEM.pkl"


def convert(model, dem, **options):
    return convert_authors(model, dem, load("enhance")["text_embedding"], None, dinov2_config=DINOV2, **options)


def assert_reference_numbers(weights, backbone):
    vectors = load("enhance")
    with torch.no_grad(), adapted(backbone, weights.adapter.modulate(vectors["degradation_vector"])):
        found = run(backbone, vectors["image"], weights.text_embedding)
    for key, tolerance in {"latent": 1e-4, "denoised_latent": 1e-3, "enhanced": 1e-4}.items():
        assert_close(found[key], vectors[key], tolerance)
    vectors = load("dem")
    assert_close(weights.estimator.head(vectors["attention_output_mean"]), vectors["degradation_vector"], 1e-4)
    expected = make_reference_dem()
    for part in ("attention", "head"):
        for key, tensor in getattr(expected, part).state_dict().items():
            assert_same(getattr(weights.estimator, part).state_dict()[key], tensor)


@pytest.mark.parametrize("origin", ["rebuilt", "the authors'"])
def test_converted_file_gives_the_reference_numbers(origin, files, backbone, tmp_path):
    if origin == "the authors'":
        if not AUTHORS.is_dir():
            pytest.skip("the authors' pickles are not part of the project")
        files = AUTHORS / "model.pkl", AUTHORS / "DEM.pkl"
    path = tmp_path / "converted.safetensors"
    save_weights(convert(*files, backbone="reference"), path)
    weights = load_weights(path)
    assert weights.backbone == "reference"
    assert weights.training == {"converted_from": ["model.pkl", "DEM.pkl"]}
    assert_reference_numbers(weights, backbone)


def test_dinov2_goes_into_the_file(files, tmp_path):
    dinov2 = make_weights_dinov2(tmp_path)
    text = load("enhance")["text_embedding"]
    weights = convert_authors(*files, text, tmp_path, dinov2_config=DINOV2)
    for key, tensor in dinov2.state_dict().items():
        assert_same(weights.estimator.backbone.state_dict()[key], tensor)


def make_weights_dinov2(folder):
    from hidra_core.dem import build_dinov2

    dinov2 = build_dinov2(DINOV2)
    dinov2.save_pretrained(folder)
    return dinov2


class _Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("place", ["model", "dem"])
@pytest.mark.parametrize("write", ["torch", "pickle"])
def test_code_in_a_pickle_is_refused_and_not_run(files, tmp_path, place, write):
    marker, path = tmp_path / "executed", tmp_path / "evil.pkl"
    state = (authors_model() if place == "model" else authors_dem()) | {"extra": _Payload(marker)}
    if write == "torch":
        torch.save(state, path)
    else:
        path.write_bytes(pickle.dumps(state))
    with pytest.raises(ValueError, match=r"evil\.pkl was refused.*more than tensors"):
        convert(path, files[1]) if place == "model" else convert(files[0], path)
    assert not marker.exists()
    with path.open("rb") as file:  # the payload works: an unsafe reader would have run it
        (lambda f: torch.load(f, weights_only=False) if write == "torch" else pickle.load(f))(file)
    assert marker.exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x02}", b"PK\x03\x04broken", b"\x80\x04\x95\xff\xff\xff"])
def test_files_that_are_no_pickle(tmp_path, content):
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.pkl was refused: it is damaged"):
        read_pickle(path)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.7, 0.999])
def test_truncated_pickle(files, tmp_path, share):
    path, content = tmp_path / "cut.pkl", files[1].read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"cut\.pkl was refused: it is damaged"):
        read_pickle(path)


def test_pickle_of_something_else(tmp_path):
    path = tmp_path / "list.pkl"
    torch.save([torch.zeros(1)], path)
    with pytest.raises(ValueError, match=r"list\.pkl holds a list; expected"):
        read_pickle(path)


def test_missing_pickle(tmp_path, files):
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.pkl"):
        convert(files[0], tmp_path / "none.pkl")


MODEL_KEYS = [
    "rank_unet",
    "rank_vae",
    "state_dict_unet",
    "state_dict_vae",
    "state_embeddings",
    "state_dict_vae_de_mlp",
    "state_dict_unet_block_mlp",
    "state_dict_unet_fuse_mlp",
    "state_embeddings/state_dict_vae_block",
    "state_embeddings/state_dict_vae_block/weight",
    "state_dict_unet_de_mlp/0.weight",
    "state_dict_vae_fuse_mlp/bias",
    "state_dict_unet/conv_in.weight",
    "state_dict_unet/conv_in.bias",
    "state_dict_unet/conv_out.lora_B.default.weight",
]


@pytest.mark.parametrize("key", MODEL_KEYS)
def test_missing_part_of_the_model_is_named(files, tmp_path, key):
    state, path = authors_model(), tmp_path / "partial.pkl"
    *parents, last = key.split("/")
    inner = state
    for parent in parents:
        inner = inner[parent]
    del inner[last]
    torch.save(state, path)
    last = {"0.weight": "degradation.weight"}.get(last, last)
    with pytest.raises(ValueError, match=rf"(?s)partial\.pkl.*{last}"):
        convert(path, files[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("state_dict_adapter"), "lacks 'state_dict_adapter'"),
        (lambda state: state["state_dict_adapter"].pop("6.bias"), r"does not fit.*3\.bias"),
        (lambda state: state["state_dict_adapter"].pop("0.temperature"), "does not fit.*temperature"),
        (lambda state: state["state_dict_adapter"].update({"9.weight": torch.zeros(1)}), r"has '9\.weight', which"),
        (lambda state: state["state_dict_adapter"].update({"3.bias": torch.zeros(9)}), "does not fit.*size mismatch"),
    ],
)
def test_bad_dem(files, tmp_path, change, message):
    state, path = authors_dem(), tmp_path / "bad.pkl"
    change(state)
    torch.save(state, path)
    with pytest.raises(ValueError, match=rf"(?s)bad\.pkl.*{message}"):
        convert(files[0], path)


@pytest.mark.parametrize("value", [7, "32"])
def test_rank_that_contradicts_the_tensors(files, tmp_path, value):
    path = tmp_path / "rank.pkl"
    torch.save(authors_model() | {"rank_unet": value}, path)
    with pytest.raises(ValueError, match=rf"rank\.pkl: rank_unet is {value}, but the tensors have rank 32"):
        convert(path, files[1])


def test_checkpoint_without_lora(files, tmp_path):
    path = tmp_path / "other.pkl"
    state = authors_model()
    state["state_dict_vae"] = {"encoder.conv_in.weight": torch.zeros(1)}
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"other\.pkl has no '\*\.lora_A\.vae_skip\.weight'"):
        convert(path, files[1])


def test_parts_that_are_no_dicts(files, tmp_path):
    path = tmp_path / "odd.pkl"
    torch.save(authors_model() | {"state_dict_unet": [1, 2]}, path)
    with pytest.raises(ValueError, match=r"odd\.pkl"):
        convert(path, files[1])


@pytest.mark.parametrize("shape", [(77, 16), (2, 77, 16), (1, 76, 16)])
def test_text_embedding_of_another_shape(files, shape):
    with pytest.raises(ValueError, match=r"text embedding has shape .*expected \[1, 77, width\]"):
        convert_authors(*files, torch.zeros(shape), None, dinov2_config=DINOV2)


@pytest.fixture(scope="module")
def text_encoder(tmp_path_factory):
    """A folder as diffusers writes it, with a small text encoder in fp16, and the encoder."""
    from transformers import CLIPTextConfig, CLIPTextModel

    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    encoder = CLIPTextModel(CLIPTextConfig(hidden_size=64, intermediate_size=128, num_attention_heads=4)).eval().half()
    encoder.save_pretrained(folder / "text_encoder")
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "vocab.json").write_text(json.dumps({"<|startoftext|>": 49406, "<|endoftext|>": 49407, "!": 0}))
    (tokenizer / "merges.txt").write_text("#version: 0.2\n")
    (tokenizer / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "pad_token": "!", "model_max_length": 77})
    )
    return folder, encoder


def test_the_empty_prompt_is_encoded_in_fp32(text_encoder):
    folder, encoder = text_encoder
    tokens = torch.tensor([[49406, 49407] + [0] * 75])
    with torch.no_grad():
        expected = copy.deepcopy(encoder).float()(tokens).last_hidden_state
    embedding = empty_prompt_embedding(folder)
    assert embedding.dtype == torch.float32
    assert_same(embedding, expected)


def test_the_empty_prompt_of_a_folder_with_the_fp16_variant_only(text_encoder, tmp_path):
    folder, encoder = text_encoder
    shutil.copytree(folder / "tokenizer", tmp_path / "tokenizer")
    encoder.save_pretrained(tmp_path / "text_encoder", variant="fp16")
    assert not (tmp_path / "text_encoder" / "model.safetensors").exists()
    assert_same(empty_prompt_embedding(tmp_path), empty_prompt_embedding(folder))


@pytest.mark.parametrize(
    ("lost", "missing"),
    [
        ("text_encoder", "text_encoder/config.json"),
        ("text_encoder/config.json", "text_encoder/config.json"),
        ("text_encoder/model.safetensors", "text_encoder/model.safetensors"),
        ("tokenizer", "tokenizer/vocab.json"),
        ("tokenizer/vocab.json", "tokenizer/vocab.json"),
    ],
)
def test_the_empty_prompt_needs_encoder_and_tokenizer(text_encoder, tmp_path, lost, missing):
    folder = shutil.copytree(text_encoder[0], tmp_path / "folder")
    if (folder / lost).is_dir():
        shutil.rmtree(folder / lost)
    else:
        (folder / lost).unlink()
    with pytest.raises(FileNotFoundError, match=f"no {missing} in .*folder: name the diffusers folder of SD-Turbo"):
        empty_prompt_embedding(folder)


def test_a_damaged_text_encoder_is_named(text_encoder, tmp_path):
    folder = shutil.copytree(text_encoder[0], tmp_path / "folder")
    path = folder / "text_encoder" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"cannot read text_encoder/ or tokenizer/ in .*folder: .*Download them again"):
        empty_prompt_embedding(folder)
