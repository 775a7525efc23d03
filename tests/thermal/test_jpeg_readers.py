"""Radiometric JPEGs of InfiRay and DJI, counts behind a JPEG's image, and what is said of those that are not read."""

from __future__ import annotations

import io
import logging
import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
from helpers import SHARED
from helpers import thermal_files as files
from helpers.thermal_files import frame
from PIL import Image

from hidra_core.images import Picture
from hidra_core.thermal import LinearKelvin
from hidra_core.thermal.readers import is_radiometric, read_input, read_thermal, trailing
from hidra_core.thermal.readers.jpeg import end_of_image

if TYPE_CHECKING:
    from pathlib import Path

APP2, APP3, APP4, APP5, APP7, APP9 = 0xE2, 0xE3, 0xE4, 0xE5, 0xE7, 0xE9
CASE = SHARED / "cases" / "ijpeg_256x192.jpg"


def ijpeg(path: Path, header: bytes, body: bytes, orientation: int = 1) -> Path:
    scene = struct.pack("<5f22x", 25.0, 0.25, 0.97, 0.5, 20.0)
    parts = [(APP2, header), (APP3, body), (APP5, scene), (APP9, b"Thermal Master\0")]
    return files.jpeg_with(path, parts, "InfiRay", orientation=orientation)


# --- InfiRay ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not CASE.exists(), reason="no cases here")
def test_infiray_case():
    image = read_thermal(CASE)
    assert image.counts.shape == (1, 192, 256)
    assert image.counts.mean() == pytest.approx(18414.260986328125)
    assert image.kelvin(image.counts).mean() - 273.15 == pytest.approx(14.572827911376976)
    assert is_radiometric(CASE)


PLANE = 48 * 64 * 2
DESCRIBED = {
    "Thermal Master": ((PLANE, 64, 48, 16), (0, 0, 0, 0)),
    "P2 Pro": ((PLANE, 64, 96, 8), (PLANE, 64, 96, 8)),
    "both": ((PLANE, 64, 48, 16), (PLANE, 64, 48, 16)),
    "large picture": ((16 * PLANE, 256, 192, 16), (PLANE, 64, 48, 16)),
}


@pytest.mark.parametrize("kind", DESCRIBED)
def test_infiray_planes(tmp_path, kind):
    picture, temperatures = DESCRIBED[kind]
    counts = frame()
    body = files.yuyv(1, picture[0] // 2) + counts.astype("<u2").tobytes() + bytes(3 * PLANE)
    path = ijpeg(tmp_path / "a.jpg", files.ijpeg_header(picture, temperatures), body)
    image = read_thermal(path)
    assert np.array_equal(image.counts[0], counts)
    assert image.relation == LinearKelvin(1 / 64)
    assert image.camera == f"InfiRay {files.MODEL}"
    assert image.parameters == pytest.approx(
        {
            "atmospheric_temperature": 298.15,
            "object_distance": 0.25,
            "emissivity": 0.97,
            "relative_humidity": 0.5,
            "reflected_temperature": 293.15,
        }
    )
    assert is_radiometric(path)


def test_infiray_planes_are_turned_like_the_jpeg(tmp_path):
    counts = frame()
    body = files.yuyv(48, 64) + counts.astype("<u2").tobytes()
    path = ijpeg(tmp_path / "a.jpg", files.ijpeg_header((PLANE, 64, 48, 16)), body, orientation=6)
    assert np.array_equal(read_thermal(path).counts[0], np.rot90(counts, -1))


@pytest.mark.parametrize(
    ("header", "what"),
    [
        (files.ijpeg_header((0, 0, 0, 0)), "where its counts are is not understood"),
        (files.ijpeg_header((PLANE, 0, 0, 16)), "where its counts are is not understood"),
        (files.ijpeg_header((PLANE, 64, 47, 16)), "where its counts are is not understood: 6144 bytes of picture"),
        (files.ijpeg_header((PLANE, 64, 96, 16)), "where its counts are is not understood"),
        (files.ijpeg_header((PLANE, 64, 48, 16), (PLANE, 63, 48, 16)), "where its counts are is not understood"),
        (files.ijpeg_header((PLANE, 64, 48, 16))[:40], "has 40 bytes, 80 are expected"),
        (files.ijpeg_header((4 * PLANE, 128, 96, 16)), "is damaged or incomplete: its plane of 128x96 counts ends at"),
    ],
)
def test_infiray_descriptions_that_do_not_fit_are_refused(tmp_path, header, what):
    path = ijpeg(tmp_path / "a.jpg", header, files.yuyv(48, 64) + frame().astype("<u2").tobytes())
    with pytest.raises(ValueError, match=rf"a\.jpg.*{what}"):
        read_input(path)


@pytest.mark.parametrize(
    "plane",
    [
        files.yuyv(48, 64),  # the picture where the temperatures are expected
        (frame() // 8).astype("<u2").tobytes(),  # tenths of a kelvin
        frame().astype(">u2").tobytes(),
        bytes(PLANE),
    ],
    ids=["picture", "tenths", "big endian", "empty"],
)
def test_infiray_planes_that_are_no_temperatures_are_refused(tmp_path, plane):
    path = ijpeg(tmp_path / "a.jpg", files.ijpeg_header((PLANE, 64, 48, 16)), files.yuyv(48, 64) + plane)
    with pytest.raises(ValueError, match=r"a\.jpg: the second of InfiRay's planes does not hold.*16-bit TIFF"):
        read_input(path)


def test_infiray_jpeg_without_planes_is_an_image_and_says_so(tmp_path, caplog):
    path = files.jpeg_with(tmp_path / "a.jpg", [(APP2, files.ijpeg_header((PLANE, 64, 48, 16)))], "InfiRay")
    assert isinstance(read_input(path), Picture)
    assert "without its plane of counts" in caplog.text
    assert not is_radiometric(path)


# --- DJI -------------------------------------------------------------------------------------------------------------


def test_dji_xts_has_its_plane_in_another_segment(tmp_path):
    counts = frame(512, 640)
    parts = [(APP3, bytes(32768)), (APP4, counts.astype("<u2").tobytes())]
    image = read_thermal(files.jpeg_with(tmp_path / "a.jpg", parts, "DJI"))
    assert np.array_equal(image.counts[0], counts)
    assert image.relation is None
    cut = files.jpeg_with(tmp_path / "b.jpg", [parts[0], (APP4, parts[1][1][:-2])], "DJI")
    with pytest.raises(ValueError, match=r"b\.jpg: its plane of counts has 655358 bytes"):
        read_thermal(cut)


FLOATS = struct.pack("<5f", 16.5, 5.0, 0.95, 0.5, 25.0)
SCENES = {
    "H20T": (
        b"\xaa\x55\x12\x06" + bytes(64) + struct.pack("<5H", 5, 70, 95, 230, 21),
        (0.95, 0.7, 5.0, 296.15, 294.15),
    ),
    "M30T": (bytes(32) + b"\xaa\x55\x38\0" + struct.pack("<4H", 70, 55, 95, 230), (0.95, 0.7, 5.5, 296.15)),
    "M3T": (b"\xff\xd2\xd1\xffiirp".ljust(32, b"\0") + FLOATS, (0.95, 0.5, 5.0, 298.15, 289.65)),
    "M2EA": (FLOATS.ljust(32, b"\xff") + b"\x2c\x01\x20\0", (0.95, 0.5, 5.0, 298.15, 289.65)),
    "unknown": (b"\xff\xd2\xd1\xffhirp".ljust(32, b"\0") + FLOATS, ()),
    "impossible": (b"\xff\xd2\xd1\xffiirp".ljust(32, b"\0") + struct.pack("<5f", 16.5, 5.0, 95.0, 0.5, 25.0), ()),
    "cut off": (b"\xaa\x55\x12\x06" + bytes(60), ()),
}
NAMES = ("emissivity", "relative_humidity", "object_distance", "reflected_temperature", "atmospheric_temperature")


@pytest.mark.parametrize("kind", SCENES)
def test_dji_parameters_are_carried(tmp_path, kind):
    record, expected = SCENES[kind]
    parts = [(APP3, frame(120, 160).astype("<u2").tobytes()), (APP4, record)]
    image = read_thermal(files.jpeg_with(tmp_path / "a.jpg", parts, "DJI"))
    assert image.parameters == pytest.approx(dict(zip(NAMES, expected, strict=False)))


def test_the_jpeg_of_counts_may_be_cut_off(tmp_path):
    counts = frame(120, 160)
    path = files.dji_jpeg(tmp_path / "a.jpg", counts)
    path.write_bytes(path.read_bytes()[:-40])
    assert np.array_equal(read_thermal(path).counts[0], counts)


# --- counts behind the image -----------------------------------------------------------------------------------------


def with_grid(path: Path, celsius: np.ndarray) -> Path:
    files.jpeg_with(path, [], "Maker")
    path.write_bytes(path.read_bytes() + files.state_grid(celsius, path.stat().st_size))
    return path


def test_hikmicro_counts(tmp_path):
    counts = frame(120, 160)
    path = files.jpeg_with(tmp_path / "a.jpg", [], "HIKMICRO", files.hdri(counts) + bytes(2000), orientation=6)
    image = read_thermal(path)
    assert np.array_equal(image.counts[0], np.rot90(counts, -1))
    assert (image.relation, image.camera) == (None, f"HIKMICRO {files.MODEL}")
    assert is_radiometric(path)


@pytest.mark.parametrize(
    ("tail", "what"),
    [
        (files.hdri(frame())[:-2], "64x48 counts is cut off"),
        (files.hdri(frame())[:20], "state a plane of 0x0"),
        (files.hdri(frame()[:0]), "state a plane of 64x0"),
        (files.hdri(frame().byteswap()), "not a plane of 64x48 counts"),
    ],
)
def test_damaged_hikmicro_counts(tmp_path, tail, what):
    path = files.jpeg_with(tmp_path / "a.jpg", [], "HIKMICRO", tail)
    with pytest.raises(ValueError, match=rf"a\.jpg is damaged or incomplete.*{what}"):
        read_input(path)


def test_state_grid_temperatures(tmp_path):
    celsius = (frame() / 600).astype(np.float32)
    path = with_grid(tmp_path / "a.jpg", celsius)
    found = trailing.find(path.read_bytes(), path)
    assert found is not None
    assert np.array_equal(found.counts[0], celsius)
    assert found.counts.dtype == np.float32
    assert found.relation == LinearKelvin(1.0, 273.15)
    assert found.camera == "Maker T100"
    expected = zip(NAMES, (0.95, 0.6, None, 292.15, 294.65), strict=True)
    assert found.parameters == pytest.approx({name: value for name, value in expected if value is not None})
    assert is_radiometric(path)


def test_damaged_state_grid_temperatures(tmp_path):
    path = with_grid(tmp_path / "a.jpg", (frame() / 600).astype(np.float32))
    whole = path.read_bytes()
    for data, what in (
        (whole[:2000] + whole[5000:], "does not fit"),
        (whole[:-20] + struct.pack("<I", len(whole)) + whole[-16:], "does not fit"),
        (with_grid(tmp_path / "b.jpg", frame().astype(np.float32)).read_bytes(), "the middle of its matrix"),
        (whole[-16:], "does not fit"),
    ):
        with pytest.raises(ValueError, match=rf"a\.jpg is damaged or incomplete.*{what}"):
            trailing.find(data, path)


def test_hti_temperatures(tmp_path):
    tenths = (frame() / 60).astype(np.int16) - 290
    path = files.jpeg_with(tmp_path / "a.jpg", [], "", files.hti(tenths))
    found = trailing.find(path.read_bytes(), path)
    assert found is not None
    assert np.array_equal(found.counts[0], tenths)
    assert (found.relation, found.camera) == (LinearKelvin(0.1, 273.15), "HTI HT-04D")
    assert found.parameters == {"emissivity": 0.95}
    assert is_radiometric(path)
    assert trailing.find(path.read_bytes()[:-1], path) is None


# --- what is not understood ------------------------------------------------------------------------------------------


def preview(size: tuple[int, int] = (400, 300), **options: object) -> bytes:
    """A JPEG of noise, whose compressed pixels hold many bytes that look like markers."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(3).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


COUNTS = frame(120, 160).astype("<u2").tobytes()


@pytest.mark.parametrize("marker", [APP3, APP7])
def test_unknown_planes_are_said(tmp_path, caplog, marker):
    read_input(files.jpeg_with(tmp_path / "a.jpg", [(marker, COUNTS)], "Autel"))
    assert f"a.jpg: its APP{marker - 0xE0} segments hold 38400 bytes, which may be counts of Autel" in caplog.text
    assert "16-bit TIFF" in caplog.text


@pytest.mark.parametrize("before", [b"", preview(), b"\0" * 5000], ids=["", "second image", "padding"])
def test_unknown_bytes_behind_the_image_are_said(tmp_path, caplog, before):
    read_input(files.jpeg_with(tmp_path / "a.jpg", [], "TOPDON", before + COUNTS))
    assert "bytes follow the end of this JPEG, which may be counts of TOPDON" in caplog.text


ORDINARY = {
    "nothing": b"",
    "short": COUNTS[:9000],
    "second image": preview() + preview((80, 60)),
    "second image cut off": preview()[:-500],
    "zeros": bytes(50_000),
    "text": b"<x:xmpmeta> words </x:xmpmeta>\n" * 1000,
    "clip": struct.pack(">I", 24) + b"ftypmp42" + COUNTS,
    "clip behind padding": bytes(16) + struct.pack(">I", 24) + b"ftypmp42" + COUNTS,
    "Samsung": COUNTS + b"SEFHk\0\0\0SEFT",
    "PNG": b"\x89PNG\r\n\x1a\n" + COUNTS,
}


@pytest.mark.parametrize("kind", ORDINARY)
def test_ordinary_bytes_behind_the_image_are_not_said(tmp_path, caplog, kind):
    with caplog.at_level(logging.INFO):
        assert isinstance(read_input(files.jpeg_with(tmp_path / "a.jpg", [], "Phone", ORDINARY[kind])), Picture)
    assert caplog.text == ""


def test_ordinary_segments_are_not_said(tmp_path, caplog):
    parts = [
        (0xE1, b"http://ns.adobe.com/xmp/extension/\0" + COUNTS),
        (APP2, b"ICC_PROFILE\0" + COUNTS),
        (APP3, preview()),
        (0xED, b"Photoshop 3.0\0" + COUNTS),
        (0xEB, b"JP" + COUNTS),
        (APP7, b"{'key': 'value'}" * 1000),
    ]
    with caplog.at_level(logging.INFO):
        read_input(files.jpeg_with(tmp_path / "a.jpg", parts, "Phone"))
    assert caplog.text == ""


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 4}])
def test_end_of_image(options):
    data = preview(**options)
    assert end_of_image(data + COUNTS) == len(data)
    assert end_of_image(b"x" + data + COUNTS, 1) == len(data) + 1
    assert end_of_image(data[:-2]) is None
    assert end_of_image(data[2:]) is None


def test_mutated_files_are_values_or_clear_errors(tmp_path):
    """Whatever is changed or cut off, a reader gives counts or an image, or refuses with the file's name."""
    body = files.yuyv(48, 64) + frame().astype("<u2").tobytes()
    made = [
        ijpeg(tmp_path / "ijpeg.jpg", files.ijpeg_header((PLANE, 64, 48, 16)), body),
        files.jpeg_with(tmp_path / "dji.jpg", [(APP3, COUNTS), (APP4, SCENES["H20T"][0])], "DJI"),
        files.jpeg_with(tmp_path / "hdri.jpg", [], "HIKMICRO", files.hdri(frame())),
        files.jpeg_with(tmp_path / "hti.jpg", [], "", files.hti(frame() // 60)),
        with_grid(tmp_path / "grid.jpg", frame() / 600),
    ]
    generator = np.random.default_rng(0)
    path, messages = tmp_path / "mutated.jpg", []
    for source in made:
        whole = source.read_bytes()
        for _ in range(40):
            data = bytearray(whole[: generator.integers(2, len(whole) + 1)] if generator.random() < 0.3 else whole)
            for at in generator.integers(2, len(data), 4) if len(data) > 2 else ():
                data[min(at, 700) if generator.random() < 0.5 else at] = generator.integers(0, 256)
            path.write_bytes(data)
            try:
                trailing.find(bytes(data), path)
                read_input(path)
            except ValueError as error:
                messages.append(str(error))
    assert messages
    assert all("mutated.jpg" in message for message in messages)
