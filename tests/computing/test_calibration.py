"""Which of bf16 and fp32 a processor is faster in: measured, remembered, and never the reason that a run fails."""

from __future__ import annotations

from typing import Any

import pytest

from hidra_core.computing import calibration
from hidra_core.names import HIDRA_TINY


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Measurements that are made, with times to give; nothing is remembered yet."""
    times, made = {"fp32": 2.0, "bf16": 1.0}, []

    def measure(sizes):
        made.append(sizes)
        return dict(times)

    monkeypatch.setattr(calibration, "measure", measure)
    monkeypatch.setattr(calibration, "_emulates_bf16", lambda: False)
    monkeypatch.setenv("HIDRA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HIDRA_CALIBRATE", raising=False)
    return times, made


def anew(backbone: str = HIDRA_TINY) -> str:
    """What a new process finds."""
    calibration._cpu_type.cache_clear()
    try:
        return calibration.cpu_type(backbone)
    finally:
        calibration._cpu_type.cache_clear()


@pytest.mark.parametrize(("bf16", "expected"), [(1.0, "bf16"), (1.99, "fp32"), (3.0, "fp32")])
def test_the_faster_type_is_chosen_and_remembered(measured, bf16, expected):
    times, made = measured
    times["bf16"] = bf16
    assert [anew(), anew()] == [expected] * 2
    assert made == [HIDRA_TINY]
    assert anew("some/sd_turbo.safetensors") == expected
    assert made == [HIDRA_TINY, "sd-turbo"]
    times.update(fp32=3 - bf16 + 1, bf16=0.1)
    assert anew() == expected


def test_it_is_measured_again_where_that_is_asked_for(measured, monkeypatch):
    times, _ = measured
    assert anew() == "bf16"
    times["bf16"] = 9.0
    monkeypatch.setenv("HIDRA_CALIBRATE", "1")
    assert anew() == "fp32"
    monkeypatch.delenv("HIDRA_CALIBRATE")
    assert anew() == "fp32"


@pytest.mark.parametrize("content", ["", "[1, 2", "[]", '{"KEY": 3}', '{"KEY": {"type": "int4"}}'])
def test_a_damaged_file_is_mended(measured, content):
    _, made = measured
    anew()
    file = calibration.cache_folder() / calibration.FILE
    key = next(iter(calibration._remembered(file)))
    file.write_text(content.replace("KEY", key))
    assert [anew(), anew()] == ["bf16"] * 2
    assert len(made) == 2


def test_a_folder_that_cannot_be_made_is_no_error(measured, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HIDRA_CACHE", str(tmp_path / "file" / "cache"))
    assert [anew(), anew()] == ["bf16"] * 2
    assert len(measured[1]) == 2


def test_without_instructions_nothing_is_measured(measured, monkeypatch):
    monkeypatch.setattr(calibration, "_emulates_bf16", lambda: True)
    assert anew() == "fp32"
    assert measured[1] == []


@pytest.mark.parametrize(
    ("system", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/caches"}, "/caches/hidra-thermal"),
        ("linux", {"HOME": "/home/me"}, "/home/me/.cache/hidra-thermal"),
        ("darwin", {"HOME": "/home/me"}, "/home/me/Library/Caches/hidra-thermal"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/hidra-thermal"),
        ("win32", {"HIDRA_CACHE": "/mine"}, "/mine"),
    ],
)
def test_the_folder_is_the_systems(monkeypatch, system, variables, expected):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HIDRA_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(calibration.sys, "platform", system)
    assert calibration.cache_folder().as_posix() == expected


def test_blocks_of_both_backbones_are_measured():
    for sizes in calibration.BLOCKS:
        for dtype in (calibration.torch.float32, calibration.torch.bfloat16):
            for block in calibration._work(sizes, dtype)[:1]:
                result: Any = block()
                assert result.dtype == dtype
    assert all(seconds > 0 for seconds in calibration.measure(HIDRA_TINY).values())
