"""The pack that users get: what is in it, what it weighs, and that it works in a folder of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest
from helpers import ROOT
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

NEEDED = (
    *("__init__.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE", "web/upload.js"),
    *("hidra_core/models/hidra-tiny/backbone.safetensors", "example_workflows/01 Enhance a thermal image.json"),
    "example_workflows/input/hidra-sample.png",
)
"""Files without which the pack does not work or may not be passed on."""
OURS = ("tests", "train", "benchmarks", "docs", ".github", ".ci")
"""Folders that no user needs."""
USE = """
import sys
from pathlib import Path
import hidra_core, numpy, torch
assert Path(hidra_core.__file__).is_relative_to(Path.cwd()), hidra_core.__file__
image = torch.from_numpy(numpy.random.default_rng(1).random((1, 64, 64, 1), dtype=numpy.float32))
weights, backbone = hidra_core.load_weights("hidra-tiny"), hidra_core.load_backbone("hidra-tiny", device="cpu")
print(tuple(hidra_core.enhance(image, backbone, hidra_core.estimate(image, weights)).shape))
"""


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The pack, and what the program that makes it prints."""
    file = tmp_path_factory.mktemp("pack") / "pack.zip"
    command = [sys.executable, str(ROOT / "benchmarks" / "pack.py"), str(file)]
    try:
        subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("the pack is made of the files that git knows, and this is no checkout")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return file, done.stdout


def test_it_has_what_is_needed_and_nothing_else(pack: tuple[Path, str]) -> None:
    with zipfile.ZipFile(pack[0]) as archive:
        names = archive.namelist()
    assert set(NEEDED) <= set(names)
    nodes = {path.relative_to(ROOT).as_posix() for path in (ROOT / "nodes").rglob("*.py")}
    assert nodes <= set(names)
    assert not [name for name in names if name.split("/")[0] in OURS]


LAYERS = re.compile(r"(?<![\w.])(torch\.)?nn\.(Linear|Conv\dd|ConvTranspose\dd|LayerNorm|GroupNorm|Embedding)\(")
"""What comfy-test refuses by its spelling."""


def test_its_sources_and_scripts_get_along_with_others(pack: tuple[Path, str]) -> None:
    """What linters of packs ask for: programs in characters that each console knows, and names that no pack shares."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no reader of TOML")
    with zipfile.ZipFile(pack[0]) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist() if name.endswith((".py", ".js"))}
        name = tomllib.loads(archive.read("pyproject.toml").decode())["tool"]["comfy"]["DisplayName"]
    for file, text in texts.items():
        if file.endswith(".py"):
            strange = {letter for letter in text if not letter.isascii() and not letter.encode("cp1252", "ignore")}
            assert not strange, f"{file}: write {strange} as \\N{{NAME}} or in words"
            assert not LAYERS.search(text), f"{file}: import layers by their names"
    scripts = [text for file, text in texts.items() if file.endswith(".js") and "registerExtension" in text]
    registered = [found for text in scripts for found in re.findall(r"registerExtension\(\{\s*name: \"(.+)\"", text)]
    assert len(registered) == len(scripts) > 0
    namespace = re.sub(r"[^a-z0-9]", "", name.lower())
    assert [name for name in registered if not name.startswith(f"{namespace}.")] == []


def test_its_size_is_stated(pack: tuple[Path, str]) -> None:
    assert f"{pack[0].stat().st_size / 1e6:.2f} MB, of which" in pack[1]


def test_it_works_in_an_empty_folder(pack: tuple[Path, str], tmp_path: Path) -> None:
    with zipfile.ZipFile(pack[0]) as archive:
        archive.extractall(tmp_path)
    done = subprocess.run([sys.executable, "-c", USE], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == "(1, 64, 64, 1)", done.stdout + done.stderr


def test_the_registry_understands_the_project() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no reader of TOML")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    about, comfy = project["project"], project["tool"]["comfy"]
    assert {"Repository", "Documentation", "Bug Tracker"} <= set(about["urls"])
    # one environment that the registry does not know makes it drop all
    assert not [name for name in about["classifiers"] if name.startswith("Environment ::") and "GPU" not in name]
    raw = about["urls"]["Repository"].replace("github.com", "raw.githubusercontent.com") + "/main/"
    with Image.open(ROOT / comfy["Icon"].removeprefix(raw)) as icon:
        assert icon.width == icon.height <= 400
    with Image.open(ROOT / comfy["Banner"].removeprefix(raw)) as banner:
        assert banner.width * 9 == banner.height * 21
