"""What a drone's files say beside their counts: camera, place, XMP; kept, and read by exiftool where it is there."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers import thermal_files
from helpers.thermal_files import PLANCK, frame
from PIL import ExifTags, Image, TiffImagePlugin

from hidra_core.thermal import LinearKelvin, write_thermal
from hidra_core.thermal.readers import read_thermal
from hidra_core.thermal.writing import stored_record

if TYPE_CHECKING:
    from pathlib import Path

XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/" drone-dji:RtkFlag="50"
 drone-dji:RtkStdLat="0.011" drone-dji:GimbalYawDegree="-12.3" drone-dji:AbsoluteAltitude="+455.20"/>
</rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""
LATITUDE = (47.0, 7.0, 24.4444)
WORDS = {"GPSLatitude": 47.12345678, "RtkFlag": 50, "GimbalYawDegree": -12.3, "Model": "M3T", "FocalLength": 9.1}


def exif(comment: bytes = b"") -> Image.Exif:
    """EXIF as a drone with RTK writes it."""
    block = Image.Exif()
    block[ExifTags.Base.Make], block[ExifTags.Base.Model] = "DJI", "M3T"
    block[ExifTags.Base.XResolution] = block[ExifTags.Base.YResolution] = 300.0
    block[ExifTags.Base.ResolutionUnit] = 2
    entries: dict[int, Any] = {
        0x9003: "2024:05:01 10:00:00",
        0x9291: "123",
        0x920A: TiffImagePlugin.IFDRational(91, 10),
    }
    block._ifds[ExifTags.IFD.Exif] = entries | ({0x9286: comment} if comment else {})
    block._ifds[ExifTags.IFD.GPSInfo] = {1: "N", 2: LATITUDE, 3: "E", 4: (8.0, 30.0, 0.0), 6: 455.2}
    return block


def drone_jpeg(path: Path, comment: bytes = b"") -> Path:
    """A radiometric JPEG with a drone's EXIF and XMP."""
    thermal_files.flir_jpeg(path, thermal_files.fff(frame(), thermal_files.png_plane(frame(), swapped=True)))
    data = path.read_bytes()
    kept = data[2 : data.index(b"\xff\xdb")]  # all segments before the quantisation tables
    plain = path.with_name("plain.jpg")
    Image.new("L", (64, 48), 90).save(plain, exif=exif(comment), xmp=XMP.encode())
    start = kept.index(b"\xff\xe1")
    flir = kept[start : kept.index(b"\xff\xe0", start)] if b"\xff\xe0" in kept[start:] else kept[start:]
    path.write_bytes(b"\xff\xd8" + flir[: _length(flir)] + plain.read_bytes()[2:])
    return path


def _length(segments: bytes) -> int:
    """Bytes of the FLIR segments at the beginning."""
    at = 0
    while segments[at + 4 : at + 8] == b"FLIR":
        at += 2 + int.from_bytes(segments[at + 2 : at + 4], "big")
    return at


def metadata(path: Path) -> dict[str, Any]:
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not on the path")
    shown = subprocess.run(["exiftool", "-j", "-n", path], capture_output=True, check=True).stdout
    return json.loads(shown)[0]


@pytest.mark.parametrize("suffix", [".tiff", ".png"])
@pytest.mark.parametrize("factor", [1, 2])
def test_place_camera_and_xmp_are_kept(tmp_path, suffix, factor):
    path = drone_jpeg(tmp_path / "drone.jpg")
    image = read_thermal(path)
    assert image.relation == PLANCK
    out = tmp_path / f"out{suffix}"
    write_thermal(out, np.asarray(image.counts).repeat(factor, 1).repeat(factor, 2), image)
    again = read_thermal(out)
    assert again.relation == PLANCK
    assert np.array_equal(again.counts[0][::factor, ::factor], frame())
    before, after = metadata(path), metadata(out)
    for name, value in WORDS.items():
        assert before[name] == pytest.approx(value), name
        assert after[name] == before[name]
    assert after["DateTimeOriginal"] == "2024:05:01 10:00:00"
    if suffix == ".tiff":
        assert (after["XResolution"], after["YResolution"]) == (300 * factor, 300 * factor)
        assert after["BandName"] == "LWIR"


CAMERA = 'xmlns:Camera="http://pix4d.com/camera/1.0"'
DESCRIPTION = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"


@pytest.mark.parametrize(
    ("xmp", "band"),
    [
        (None, "LWIR"),
        (XMP, "LWIR"),
        (XMP.replace("rdf:about", f'{CAMERA} Camera:ModelType="fisheye" rdf:about'), "LWIR"),
        (XMP.replace("rdf:about", f'{CAMERA} Camera:BandName="NIR" rdf:about'), "NIR"),  # the camera knows better
    ],
)
def test_the_band_is_named_for_opendronemap(tmp_path, xmp, band):
    Image.fromarray(frame()).save(tmp_path / "in.png")
    image = read_thermal(tmp_path / "in.png")
    image = replace(image, metadata=replace(image.metadata, xmp=None if xmp is None else xmp.encode()))
    write_thermal(tmp_path / "out.tif", image.counts, image)
    with Image.open(tmp_path / "out.tif") as result:
        text = bytes(result.tag_v2[700])
    found = ElementTree.fromstring(text[text.index(b"<x:xmpmeta") : text.index(b"<?xpacket end")]).iter(DESCRIPTION)
    attributes = next(iter(found)).attrib
    assert attributes["{http://pix4d.com/camera/1.0}BandName"] == band
    assert xmp is None or attributes["{http://www.dji.com/drone-dji/1.0/}GimbalYawDegree"] == "-12.3"


@pytest.mark.parametrize(
    "comment",
    [
        b"ASCII\0\0\0a note",
        b"UNICODE\0" + "a note".encode("utf-16-le"),
        b"UNICODE\0" + "a note".encode("utf-16-be"),
        b"UNICODE\0" + "\ufeffa note".encode("utf-16-le"),
        b"\0\0\0\0\0\0\0\0a note",
    ],
)
def test_a_comment_of_the_camera_is_kept_in_the_record(tmp_path, comment):
    image = read_thermal(drone_jpeg(tmp_path / "drone.jpg", comment))
    write_thermal(tmp_path / "out.tif", image.counts, image)
    record = stored_record(read_thermal(tmp_path / "out.tif").metadata.exif)
    assert record is not None
    assert record["comment"] == "a note"


@pytest.mark.parametrize(("unit", "offset"), [("celsius", 273.15), ("kelvin", 0.0)])
def test_temperatures_are_read_again_as_temperatures(tmp_path, unit, offset):
    """They once were read with the constants of the counts that they were made from."""
    image = read_thermal(drone_jpeg(tmp_path / "drone.jpg"))
    write_thermal(tmp_path / "out.tif", image.counts, image, unit=unit)
    again = read_thermal(tmp_path / "out.tif")
    assert again.relation == LinearKelvin(1.0, offset)
    assert again.kelvin(again.counts[0]) == pytest.approx(PLANCK.kelvin(frame()), abs=1e-3)
    record = stored_record(again.metadata.exif)
    assert record is not None
    assert not {"planck", "lowest", "highest"} & set(record)


def test_a_format_without_room_for_the_ground_says_so(tmp_path, caplog):
    rasterio = pytest.importorskip("rasterio")
    place = rasterio.transform.from_origin(500000, 5200000, 0.05, 0.05)
    options = {"driver": "GTiff", "width": 64, "height": 48, "count": 1, "dtype": "uint16", "crs": "EPSG:32633"}
    with rasterio.open(tmp_path / "in.tif", "w", **options, transform=place) as file:
        file.write(frame()[None])
    image = read_thermal(tmp_path / "in.tif")
    with caplog.at_level(logging.WARNING):
        write_thermal(tmp_path / "out.tif", image.counts, image)
        assert not caplog.records
        write_thermal(tmp_path / "out.png", image.counts, image)
    assert "out.png: .png cannot hold the georeference" in caplog.text
