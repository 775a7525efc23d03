"""The images of the example workflows in the input folder; needs no host."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of the pack that places them, with an input folder of its own in the place of the host's."""
    host = ModuleType("folder_paths")
    vars(host)["get_input_directory"] = lambda: str(tmp_path)
    monkeypatch.setitem(sys.modules, "folder_paths", host)
    # packages whose own modules are not imported: those need the host
    for name in ("", ".nodes", ".nodes.host", ".hidra_core"):
        package = ModuleType(f"placing{name}")
        package.__path__ = [str(ROOT.joinpath(*name.split(".")))]
        monkeypatch.setitem(sys.modules, package.__name__, package)
    for name in ("placing.nodes.host.files", "placing.hidra_core.names"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("placing.nodes.host.files")


def test_files_of_the_user_with_the_names_of_samples_stay(files: ModuleType, tmp_path: Path) -> None:
    names = [path.name for path in files.SAMPLES.glob("*.png")]
    assert names
    for name in names:
        (tmp_path / name).write_bytes(b"the user's own")
    files.place_samples()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == dict.fromkeys(names, b"the user's own")


def test_samples_are_placed_where_they_are_missing(files: ModuleType, tmp_path: Path) -> None:
    files.place_samples()
    samples = {path.name: path.read_bytes() for path in files.SAMPLES.glob("*.png")}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == samples


def test_an_input_folder_that_cannot_be_written_is_no_error(files: ModuleType, tmp_path: Path) -> None:
    tmp_path.rmdir()
    tmp_path.write_bytes(b"no folder")
    files.place_samples()
    assert tmp_path.read_bytes() == b"no folder"
