"""Fixtures of the core's tests: devices, the reference backbone and weights, the built-in model."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import reference
from PIL import Image

from hidra_core import DiffusersBackbone, Weights, load_backbone, load_weights

os.environ.setdefault("HIDRA_CACHE", str(Path(tempfile.gettempdir(), "hidra-tests-cache")))
"""Tests leave the user's cache alone; commands in processes of their own find what others measured."""


@pytest.fixture(scope="session", params=["cpu", "cuda"])
def device(request) -> torch.device:
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no CUDA GPU here")
        # Convolutions would round to 10 bits there: an error of 1e-3, ten times what the reference numbers allow.
        torch.backends.cudnn.allow_tf32 = False
    return torch.device(request.param)


@pytest.fixture(scope="session")
def backbone() -> DiffusersBackbone:
    """The reference backbone, shared: tests leave it as they found it."""
    return reference.make_backbone()


@pytest.fixture(scope="session")
def weights() -> Weights:
    """The reference adapter with a small DEM, shared: tests leave it as they found it."""
    return reference.make_weights()


@pytest.fixture(scope="session")
def tiny() -> tuple[DiffusersBackbone, Weights]:
    """The built-in model in fp32."""
    return load_backbone("hidra-tiny", device="cpu", dtype="fp32"), load_weights("hidra-tiny")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of noise pictures, with one unreadable and one small file among them."""
    images = tmp_path / "images" / "nested"
    images.mkdir(parents=True)
    for i in range(3):
        values = np.random.default_rng(i).integers(0, 256, (72 + i, 96), dtype=np.uint8)
        Image.fromarray(values).save(images / f"{i}.png")
    (images / "broken.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(images / "small.png")
    return tmp_path / "images"
