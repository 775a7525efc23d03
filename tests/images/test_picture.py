"""Image files in and out: every kind of file comes back as what it was."""

import errno
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import SHARED
from PIL import Image

from hidra_core.images import (
    Picture,
    check_images,
    comparison,
    display_range,
    find_images,
    from_grey,
    read_image,
    stretch,
    to_grey,
    unstretch,
    write_image,
)

DATA = SHARED / "data"
GPS = {1: "N", 2: (47.0, 22.0, 30.0), 3: "E", 4: (8.0, 33.0, 0.0)}


def counts(channels: int, depth: int, height: int = 7, width: int = 9, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, 2**depth, (height, width, channels))
    return values.astype(np.uint8 if depth == 8 else np.uint16)


def picture(channels: int, depth: int, **metadata) -> Picture:
    values = counts(channels, depth)
    pixels = (values / (2**depth - 1)).astype(np.float32)
    return Picture(Path("in.png"), pixels, depth, **metadata)


def gps_block(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x0112] = orientation
    exif[0x8825] = GPS
    exif[0x8769] = {0x9003: "2024:05:06 07:08:09"}
    return exif.tobytes()


def in_counts(pixels: np.ndarray, depth: int) -> np.ndarray:
    return np.rint(pixels.astype(np.float64) * (2**depth - 1)).astype(int)


@pytest.mark.parametrize("extension", [".png", ".tif", ".TIFF"])
@pytest.mark.parametrize(("channels", "depth"), [(c, d) for c in (1, 2, 3, 4) for d in (8, 16)])
def test_round_trip_is_exact(tmp_path, extension, channels, depth):
    if depth == 16 and channels > 1:
        pytest.importorskip("cv2")
    like = picture(channels, depth)
    write_image(tmp_path / f"out{extension}", like.pixels, like)
    back = read_image(tmp_path / f"out{extension}")
    expected = like.pixels
    if extension != ".png" and channels == 2 and depth == 16:
        expected = expected[..., [0, 0, 0, 1]]
    assert back.bit_depth == depth
    assert back.pixels.dtype == np.float32
    assert np.array_equal(back.pixels, expected)


@pytest.mark.parametrize(("extension", "channels", "depth"), [(".bmp", 1, 8), (".bmp", 3, 8), (".pgm", 1, 8)])
def test_round_trip_of_plain_formats(tmp_path, extension, channels, depth):
    like = picture(channels, depth)
    write_image(tmp_path / f"out{extension}", like.pixels, like)
    assert np.array_equal(read_image(tmp_path / f"out{extension}").pixels, like.pixels)


def test_16_bit_pgm(tmp_path):
    like = picture(1, 16)
    write_image(tmp_path / "out.pgm", like.pixels, like)
    back = read_image(tmp_path / "out.pgm")
    assert back.bit_depth == 16
    assert np.array_equal(back.pixels, like.pixels)


def test_webp_is_lossless_and_jpeg_close(tmp_path):
    like = picture(1, 8)
    write_image(tmp_path / "out.webp", like.pixels, like)
    assert np.array_equal(read_image(tmp_path / "out.webp").pixels, np.repeat(like.pixels, 3, -1))
    smooth = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64, 1)
    write_image(tmp_path / "out.jpg", smooth, like)
    back = read_image(tmp_path / "out.jpg").pixels
    assert back.shape == (64, 64, 1)
    assert np.abs(back - smooth).max() < 0.03


def test_sixteen_bit_grey_keeps_its_low_counts(tmp_path):
    values = np.array([[0, 1, 255, 256], [7000, 16383, 65534, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "raw.png")
    assert np.array_equal(in_counts(read_image(tmp_path / "raw.png").pixels[..., 0], 16), values)


def test_16_bit_png_of_our_own_agrees_with_opencv(tmp_path):
    cv2 = pytest.importorskip("cv2")
    values = counts(3, 16)
    assert cv2.imwrite(str(tmp_path / "theirs.png"), values[..., ::-1])
    read = read_image(tmp_path / "theirs.png")
    assert np.array_equal(in_counts(read.pixels, 16), values)
    write_image(tmp_path / "ours.png", read.pixels, read)
    assert np.array_equal(cv2.imread(str(tmp_path / "ours.png"), cv2.IMREAD_UNCHANGED)[..., ::-1], values)


def test_palette_one_bit_cmyk_and_transparency(tmp_path, caplog):
    caplog.set_level("INFO", "hidra_core.images.picture")
    colour = Image.fromarray(counts(3, 8))
    colour.quantize(16).save(tmp_path / "palette.png")
    expected = np.asarray(colour.quantize(16).convert("RGB")) / np.float32(255)
    assert np.allclose(read_image(tmp_path / "palette.png").pixels, expected)

    Image.fromarray(np.array([[True, False], [False, True]])).save(tmp_path / "bits.png")
    assert read_image(tmp_path / "bits.png").pixels[..., 0].tolist() == [[1, 0], [0, 1]]

    colour.convert("CMYK").save(tmp_path / "print.jpg")
    assert read_image(tmp_path / "print.jpg").pixels.shape == (7, 9, 3)
    said = [record.getMessage() for record in caplog.records]
    for name, words in (("palette", "palette is read as RGB"), ("bits", "grey of 8 bits"), ("print", "CMYK is read")):
        assert [name in line and words in line for line in said].count(True) == 1

    Image.fromarray(np.array([[0, 200]], np.uint8)).save(tmp_path / "key.png", transparency=0)
    assert read_image(tmp_path / "key.png").pixels[0, :, 1].tolist() == [0, 1]


def test_one_pixel(tmp_path):
    like = Picture(Path("in.png"), np.full((1, 1, 1), 0.2, np.float32), 8)
    write_image(tmp_path / "one.png", like.pixels, like)
    assert read_image(tmp_path / "one.png").pixels.shape == (1, 1, 1)
    assert display_range(like.pixels) == pytest.approx((0.2, 0.2), abs=1e-5)


def test_grey_result_goes_back_to_the_kind_of_the_input(tmp_path):
    like = picture(4, 8)
    write_image(tmp_path / "out.png", torch.full((14, 18), 0.6), like)
    back = read_image(tmp_path / "out.png").pixels
    assert back.shape == (14, 18, 4)
    assert in_counts(back[..., :3], 8).min() == in_counts(back[..., :3], 8).max() == 153
    assert abs(back[..., 3].mean() - like.pixels[..., 3].mean()) < 0.05

    write_image(tmp_path / "grey.png", np.full((7, 9, 3), 0.6, np.float32), picture(1, 8))
    assert read_image(tmp_path / "grey.png").pixels.shape == (7, 9, 1)


@pytest.mark.parametrize("extension", [".jpg", ".png", ".tif", ".webp"])
def test_exif_is_kept_without_orientation(tmp_path, extension):
    Image.fromarray(counts(3, 8)).save(tmp_path / "in.jpg", exif=gps_block(orientation=6), quality=100)
    source = read_image(tmp_path / "in.jpg")
    assert source.pixels.shape == (9, 7, 3)
    write_image(tmp_path / f"out{extension}", source.pixels, source)
    with Image.open(tmp_path / f"out{extension}") as image:
        exif = image.getexif()
        assert exif.get_ifd(0x8825) == GPS
        assert exif[0x010F] == "Maker"
        assert exif.get_ifd(0x8769)[0x9003].startswith("2024")
        assert exif.get(0x0112, 1) == 1
        assert image.size == (7, 9)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("extension", [".png", ".tif"])
def test_exif_and_xmp_of_16_bit_images(tmp_path, extension, channels):
    if channels > 1:
        pytest.importorskip("cv2")
    like = picture(channels, 16, exif=gps_block(), xmp=b"<x:xmpmeta/>")
    write_image(tmp_path / f"a{extension}", like.pixels, like)
    once = read_image(tmp_path / f"a{extension}")
    write_image(tmp_path / f"b{extension}", once.pixels, once)
    with Image.open(tmp_path / f"b{extension}") as image:
        image.load()
        assert image.getexif().get_ifd(0x8825) == GPS
        assert image.info["xmp"].rstrip(b"\0") == b"<x:xmpmeta/>"
    assert np.array_equal(read_image(tmp_path / f"b{extension}").pixels, like.pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "tif", "deep.tif"])
def test_orientation(tmp_path, orientation, kind):
    upright = counts(3 if kind == "deep.tif" else 1, 16 if kind == "deep.tif" else 8)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    path = tmp_path / f"turned.{kind}"
    if kind == "deep.tif":
        pytest.importorskip("cv2")
        like = Picture(Path("in"), stored.astype(np.float32) / 65535, 16, exif=gps_block(orientation))
        write_image(path, like.pixels, like)
    else:
        Image.fromarray(stored[..., 0]).save(path, exif=gps_block(orientation))
    back = read_image(path)
    assert np.array_equal(in_counts(back.pixels, back.bit_depth), upright)


def test_float_tiff(tmp_path):
    Image.fromarray(np.array([[0.0, 0.25], [0.5, 1.0]], np.float32)).save(tmp_path / "unit.tif")
    unit = read_image(tmp_path / "unit.tif")
    assert unit.bit_depth == 16
    assert unit.pixels[..., 0].tolist() == [[0, 0.25], [0.5, 1]]
    for name, value in (("celsius", 21.5), ("nan", np.nan)):
        Image.fromarray(np.full((2, 2), value, np.float32)).save(tmp_path / f"{name}.tif")
        with pytest.raises(ValueError, match="8- or 16-bit integers"):
            read_image(tmp_path / f"{name}.tif")


def test_32_bit_integers_and_several_frames_are_refused(tmp_path):
    Image.fromarray(np.full((2, 2), 70000, np.int32)).save(tmp_path / "wide.tif")
    with pytest.raises(ValueError, match="16-bit"):
        read_image(tmp_path / "wide.tif")
    frames = [Image.fromarray(counts(1, 8, seed=i)[..., 0]) for i in range(3)]
    frames[0].save(tmp_path / "stack.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="3 pages"):
        read_image(tmp_path / "stack.tif")


def test_white_is_zero_tiff(tmp_path):
    Image.fromarray(np.array([[0, 1000]], np.uint16)).save(tmp_path / "inverted.tif", tiffinfo={262: 0})
    with Image.open(tmp_path / "inverted.tif") as image:
        if image.tag_v2[262] != 0:
            pytest.skip("this Pillow does not write inverted TIFF")
    assert in_counts(read_image(tmp_path / "inverted.tif").pixels[0, :, 0], 16).tolist() == [0, 1000]


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing.png"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(IsADirectoryError):
        read_image(tmp_path)
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").write_bytes(b"")
    for name in ("text.png", "empty.png"):
        with pytest.raises(ValueError, match=rf"{name}.*expected PNG"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("extension", [".png", ".jpg", ".tif", ".bmp", ".webp", ".pgm"])
def test_truncated_file(tmp_path, extension):
    like = Picture(Path("in.png"), counts(1, 8, 64, 64).astype(np.float32) / 255, 8)
    path = tmp_path / f"cut{extension}"
    write_image(path, like.pixels, like)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ValueError, match=f"cut{extension}.*(damaged|not an image file)"):
        read_image(path)


def test_truncated_16_bit_colour(tmp_path):
    pytest.importorskip("cv2")
    like = picture(3, 16)
    write_image(tmp_path / "cut.png", like.pixels, like)
    data = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="damaged"):
        read_image(tmp_path / "cut.png")


def test_16_bit_colour_without_opencv(tmp_path, monkeypatch):
    like = picture(3, 16)
    write_image(tmp_path / "deep.png", like.pixels, like)
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(ImportError, match="opencv-python-headless"):
        read_image(tmp_path / "deep.png")


@pytest.mark.parametrize("name", ["out.jpg", "out.bmp", "out.webp"])
def test_depth_that_the_format_cannot_hold(tmp_path, name):
    like = picture(1, 16)
    with pytest.raises(ValueError, match=r"16 bits.*\.png or \.tiff"):
        write_image(tmp_path / name, like.pixels, like)
    assert not list(tmp_path.iterdir())


def test_a_table_of_text_is_told_how_to_become_readable(tmp_path):
    (tmp_path / "table.csv").write_text("20.5,21.0\n20.0,22.5\n")
    with pytest.raises(ValueError, match=r"numpy\.save\(\"table\.npy\", .*floating-point temperatures"):
        read_image(tmp_path / "table.csv")
    (tmp_path / "table.xyz").write_text("20.5,21.0\n20.0,22.5\n")
    with pytest.raises(ValueError, match=r"expected PNG.*TIFF of integers or floating-point temperatures, \.npy"):
        read_image(tmp_path / "table.xyz")


def test_kinds_that_the_format_cannot_hold(tmp_path):
    for name, channels in (("out.jpg", 4), ("out.pgm", 3), ("out.bmp", 2)):
        with pytest.raises(ValueError, match="cannot hold"):
            write_image(tmp_path / name, picture(channels, 8).pixels, picture(channels, 8))
    with pytest.raises(ValueError, match="unknown image file extension"):
        write_image(tmp_path / "out.gif", picture(1, 8).pixels, picture(1, 8))
    broken = picture(1, 8).pixels.copy()
    broken[0, 0] = np.nan
    with pytest.raises(ValueError, match="1 of 63 values"):
        write_image(tmp_path / "out.png", broken, picture(1, 8))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stage", ["replace", "encode", "write"])
def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch, stage):
    like = picture(1, 8)
    target = tmp_path / "out.png"
    target.write_bytes(b"the old file")

    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    def fail_halfway(path, data):
        with open(path, "wb") as file:
            file.write(data[:10])
        fail()

    if stage == "replace":
        monkeypatch.setattr(os, "replace", fail)
    elif stage == "encode":
        monkeypatch.setattr("hidra_core.images.picture._encode", fail)
    else:
        monkeypatch.setattr(Path, "write_bytes", fail_halfway)
    with pytest.raises(OSError, match=r"out\.png: No space left.*has room") as caught:
        write_image(target, like.pixels, like)
    assert caught.value.errno == errno.ENOSPC
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]
    assert target.read_bytes() == b"the old file"


def test_read_only_folder(tmp_path, monkeypatch):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o555)
    if os.access(folder, os.W_OK):  # root and Windows users may write anywhere

        def refuse(*args, **kwargs):
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
    like = picture(1, 8)
    with pytest.raises(PermissionError, match="choose a folder"):
        write_image(folder / "out.png", like.pixels, like)


def test_output_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    like = picture(1, 8)
    with pytest.raises(OSError, match="out.png"):
        write_image(tmp_path / "file" / "out.png", like.pixels, like)


def test_missing_output_folders_are_made(tmp_path):
    like = picture(1, 8)
    write_image(tmp_path / "a" / "b" / "out.png", like.pixels, like)
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["out.png"]


# --- the range of 16-bit frames ---


def raw_frame() -> np.ndarray:
    return (np.linspace(7000, 8200, 40 * 50).reshape(40, 50, 1).round() / 65535).astype(np.float32)


def test_dead_pixels_do_not_set_the_range():
    frame = raw_frame()
    reference = display_range(frame)
    assert np.array(reference) * 65535 == pytest.approx((7000, 8200), abs=60)
    frame[5, 5] = 1.0
    frame[20, 30:32] = 0.0
    frame[:, 33] = 0.0
    assert np.array(display_range(frame)) * 65535 == pytest.approx(np.array(reference) * 65535, abs=60)
    frame[10:13, 10:13] = 0.3
    assert display_range(frame)[1] == pytest.approx(0.3, abs=1e-5)


@pytest.mark.parametrize("as_tensor", [False, True])
def test_unstretch_is_the_inverse(as_tensor):
    frame = np.concatenate([raw_frame(), np.full((40, 50, 1), 0.7, np.float32)], -1)
    limits = display_range(frame)
    pixels = torch.from_numpy(frame) if as_tensor else frame
    stretched = stretch(pixels, limits)
    assert float(stretched[..., 0].min()) == 0
    assert float(stretched[..., 0].max()) == pytest.approx(1)
    back = np.asarray(unstretch(stretched, limits))
    inside = (frame[..., 0] >= limits[0]) & (frame[..., 0] <= limits[1])
    assert np.array_equal(in_counts(back, 16)[..., 0][inside], in_counts(frame, 16)[..., 0][inside])
    assert np.array_equal(back[..., 1], frame[..., 1])


def test_flat_frame():
    frame = np.full((8, 8, 1), 7000 / 65535, np.float32)
    limits = display_range(frame)
    assert limits[0] == limits[1]
    assert (stretch(frame, limits) == 0.5).all()
    assert (in_counts(unstretch(stretch(frame, limits), limits), 16) == 7000).all()


def test_8_bit_images_are_never_stretched():
    grey = Picture(Path("in.png"), np.full((4, 4, 1), 0.5, np.float32), 8)
    assert grey.limits() == (0.0, 1.0)
    assert np.array_equal(stretch(grey.pixels, grey.limits()), grey.pixels)


# --- grey and back, checks ---


def test_to_grey():
    grey = torch.rand(2, 5, 6, 1)
    assert torch.equal(to_grey(grey.expand(-1, -1, -1, 3)), grey.permute(0, 3, 1, 2))
    primary = torch.eye(3).reshape(1, 1, 3, 3)
    assert to_grey(primary).flatten().tolist() == pytest.approx([0.299, 0.587, 0.114])
    assert torch.equal(to_grey(torch.cat([grey, torch.zeros_like(grey)], -1)), grey.permute(0, 3, 1, 2))
    rgba = torch.rand(1, 4, 4, 4)
    assert torch.equal(to_grey(rgba), to_grey(rgba[..., :3]))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_from_grey(channels):
    like = torch.rand(2, 5, 6, channels)
    same = from_grey(to_grey(like), like)
    assert same.shape == like.shape
    if channels in (2, 4):
        assert torch.equal(same[..., -1], like[..., -1])
    larger = from_grey(torch.rand(2, 1, 10, 12), like)
    assert larger.shape == (2, 10, 12, channels)
    assert larger.min() >= 0
    assert larger.max() <= 1


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(0, 4, 4, 3), "no images"),
        ([], "no images"),
        (torch.zeros(4, 4), r"\[B, H, W, C\]"),
        (torch.zeros(1, 1, 4, 4, 3), r"\[B, H, W, C\]"),
        (torch.zeros(2, 3, 40, 50), "permute"),
        (torch.zeros(2, 8, 8, 7), "1 to 4 channels"),
        (torch.zeros(8, 8, 5), "1 to 4 channels"),
        (torch.zeros(1, 0, 4, 3), "at least 1"),
        (torch.zeros(1, 4, 4, 3, dtype=torch.uint8), "divide by 255"),
        ([torch.zeros(4, 4, 1), torch.full((4, 4, 1), 2.0)], "image 2 of 2 has values from 2 to 2"),
        (torch.full((1, 4, 4, 1), -0.5), "divide 8-bit"),
        (np.zeros((1, 4, 4, 1)), "torch.from_numpy"),
        ([np.zeros((4, 4, 1))], "torch.from_numpy"),
    ],
)
def test_check_images_says_what_is_wrong(bad, message):
    with pytest.raises(ValueError, match=message):
        check_images(bad)


def test_check_images_counts_nan():
    batch = torch.zeros(3, 4, 4, 1)
    batch[1, 0, :2] = float("nan")
    batch[1, 1, 1] = float("inf")
    with pytest.raises(ValueError, match="image 2 of 3 has 3 of 16 values"):
        check_images(batch)


def test_check_images_accepts():
    assert len(check_images(torch.rand(2, 4, 5, 3))) == 2
    assert check_images(torch.rand(4, 5, 1).half())[0].shape == (4, 5, 1)
    assert len(check_images([torch.rand(4, 5, 3), torch.rand(6, 7, 1)])) == 2
    assert float(check_images(torch.full((1, 2, 2, 1), 1.005))[0].max()) > 1  # unchanged


# --- finding ---


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def relative(files) -> list[str]:
    return [name.as_posix() for _, name in files]


def test_folders_are_searched_in_natural_order(tmp_path):
    touch(tmp_path, "f10.png", "f2.PNG", "sub/a.tif", ".hidden.png", ".cache/x.png", "notes.txt", "f1.jpg")
    files = find_images([tmp_path])
    assert relative(files) == ["f1.jpg", "f2.PNG", "f10.png", "sub/a.tif"]
    assert files[1][0] == tmp_path / "f2.PNG"


def test_patterns(tmp_path):
    touch(tmp_path, "day/1/a.png", "day/2/a.png", "day/2/b.txt", "night/a.png")
    assert relative(find_images([f"{tmp_path}/day/**/*.png"])) == ["1/a.png", "2/a.png"]
    assert relative(find_images([str(tmp_path / "*" / "a.png")])) == ["night/a.png"]
    touch(tmp_path, "frame[1].png")
    assert relative(find_images([tmp_path / "frame[1].png"])) == ["frame[1].png"]


def test_names_do_not_collide(tmp_path):
    touch(tmp_path, "a/x.png", "a/y.png", "b/X.png", "b/z.png")
    files = find_images([tmp_path / "a", tmp_path / "b", tmp_path / "a" / "x.png"])
    assert relative(files) == ["a/x.png", "y.png", "b/X.png", "z.png"]
    deep = tmp_path / "deep"
    touch(deep, "1/ir/x.png", "2/ir/x.png")
    assert relative(find_images([deep / "1/ir/x.png", deep / "2/ir"])) == ["1/ir/x.png", "2/ir/x.png"]


def test_nothing_found(tmp_path):
    touch(tmp_path, "notes.txt")
    for given in (tmp_path, tmp_path / "gone.png", tmp_path / "*.png"):
        with pytest.raises(FileNotFoundError) as caught:
            find_images([given])
        assert str(given) in str(caught.value)


def test_an_empty_name_is_not_the_current_folder():
    with pytest.raises(FileNotFoundError, match="an empty name"):
        find_images([""])


def test_comparison():
    image = comparison(np.zeros((20, 30)), torch.ones(40, 60, 4), labels=("in", "out"))
    array = np.asarray(image)
    assert image.mode == "RGB"
    assert image.width >= 120
    assert image.height > 40
    assert (array[-40:, :60] == 0).all()
    assert (array[-40:, -60:] == 255).all()


def test_real_raw_frames(tmp_path):
    if not DATA.is_dir():
        pytest.skip("the folder of real thermal images, ../shared/data, is not here")
    for file in sorted((DATA / "radiometric").glob("*_raw16.png"))[:3]:
        frame = read_image(file)
        limits = frame.limits()
        assert frame.bit_depth == 16
        assert 0 <= limits[0] < limits[1] <= 1
        back = unstretch(stretch(frame.pixels, limits), limits)
        write_image(tmp_path / file.name, back, frame)
        clipped = np.clip(frame.pixels, *np.float32(limits))
        assert np.array_equal(in_counts(read_image(tmp_path / file.name).pixels, 16), in_counts(clipped, 16))
    for file in sorted((DATA / "radiometric").glob("*.jpg"))[:4]:
        photo = read_image(file)
        write_image(tmp_path / file.name, photo.pixels, photo)
        assert read_image(tmp_path / file.name).exif == photo.exif


def test_a_stored_png_has_valid_checksums(tmp_path):
    like = picture(4, 16, exif=gps_block())
    write_image(tmp_path / "out.png", like.pixels, like)
    data, position = (tmp_path / "out.png").read_bytes(), 8
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        body = data[position + 4 : position + 8 + length]
        assert zlib.crc32(body) == int.from_bytes(data[position + 8 + length : position + 12 + length], "big")
        position += 12 + length
