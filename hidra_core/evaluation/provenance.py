"""The details needed to repeat an evaluation: versions, the machine, and the hashes of the files it used."""

from __future__ import annotations

import hashlib
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from .. import __version__
from ..backbone import MODELS
from ..names import HIDRA_TINY

PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "numpy",
    "scipy",
    "Pillow",
    "opencv-python-headless",
    "opencv-python",
    "PyWavelets",
    "bm3d",
    "pyiqa",
)


def machine() -> str:
    """The processor (and GPU), the number of threads and PyTorch's version, on one line."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        name = lines[0] if lines else name
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{name}, {torch.get_num_threads()} threads{gpu}, torch {torch.__version__}"


def versions() -> dict[str, str]:
    """Versions of Python, of this project and of those installed packages that numbers depend on."""
    installed = {"python": platform.python_version(), "hidra": __version__}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            installed[package] = version(package)
    return installed


def hashes(source: str, built_in: str) -> dict[str, str]:
    """SHA-256, by name, of the files that a model was loaded from.

    Args:
        source: a file, a folder (its weight files are hashed), or ``hidra-tiny``.
        built_in: the file of the built-in model that ``hidra-tiny`` stands for, e.g. ``"weights.safetensors"``.
    """
    if source == HIDRA_TINY:
        return {f"{HIDRA_TINY}/{built_in}": sha256(MODELS / HIDRA_TINY / built_in)}
    path = Path(source)
    if path.is_dir():
        files = sorted(file for suffix in ("safetensors", "bin") for file in path.rglob(f"*.{suffix}"))
        return {str(file): sha256(file) for file in files}
    return {str(path): sha256(path)}


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
