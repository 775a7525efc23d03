"""Files appear whole or not at all, and errors name the file that they are about."""

import errno
import os
import shutil
import stat
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hidra_core.images.files import atomic_path, check_names, write_json


def test_an_error_about_an_input_is_not_told_as_one_of_the_output(tmp_path):
    missing = tmp_path / "no" / "input.mp4"
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "result.mp4"):
        missing.open("rb")
    assert caught.value.filename == str(missing)
    assert "cannot write" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_decoder_that_gives_up_is_not_told_as_one_of_the_output(tmp_path):
    with pytest.raises(OSError, match="^image file is truncated$"), atomic_path(tmp_path / "result.png"):
        raise OSError("image file is truncated")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_errors_of_the_disk_name_the_output(tmp_path, number):
    target = tmp_path / "result.png"
    with pytest.raises(OSError, match=f"cannot write {target}.*has room") as caught, atomic_path(target):
        raise OSError(number, os.strerror(number))
    assert caught.value.errno == number
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("free", "number", "words"), [(4096, errno.ENOSPC, "No space left"), (2**40, 0, "12288 req")])
def test_a_file_that_is_cut_short_is_an_error_of_the_disk(tmp_path, monkeypatch, free, number, words):
    """As NumPy tells it, without an errno: the disk is full, or takes no more for another reason."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=free))
    target = tmp_path / "result.tiff"
    with pytest.raises(OSError, match=f"cannot write {target}: {words}.*has room") as caught, atomic_path(target):
        raise OSError("12288 requested and 12032 written")
    assert caught.value.errno == number


def test_errors_about_the_temporary_file_name_the_output(tmp_path):
    target = tmp_path / "result.png"
    with pytest.raises(PermissionError, match=f"cannot write {target}"), atomic_path(target) as temporary:
        raise PermissionError(errno.EACCES, "Permission denied", str(temporary))


@pytest.mark.skipif(os.name != "posix", reason="permissions of files are POSIX's")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_have_the_permissions_that_the_process_gives(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_json(tmp_path / "a.json", {"a": 1})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == mode


@pytest.mark.skipif(os.name != "posix", reason="permissions of files are POSIX's")
def test_the_umask_of_the_process_is_never_changed(tmp_path, monkeypatch):
    """Other threads that make files meanwhile would make them writable to everyone."""
    changes = []
    monkeypatch.setattr(os, "umask", changes.append)
    write_json(tmp_path / "a.json", {})
    assert changes == []


def test_many_writers_of_one_file_leave_one_whole_file(tmp_path):
    target = tmp_path / "a.json"
    threads = [threading.Thread(target=write_json, args=(target, [number] * 1000)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert len(set(target.read_text().split()) - {"[", "]"}) in (1, 2)  # with and without a comma


def test_the_suffix_is_kept_for_writers_that_choose_by_it(tmp_path):
    with atomic_path(tmp_path / "clip.mp4") as temporary:
        assert temporary.suffix == ".mp4"
        assert temporary.parent == Path(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize("stem", [251 * "x", 83 * "熱" + "ab", 62 * "🔥" + "abc"], ids=["1 byte", "3 bytes", "4 bytes"])
def test_names_may_be_as_long_as_the_file_system_allows(tmp_path, stem):
    target = tmp_path / f"{stem}.png"
    check_names([target, tmp_path / "not" / "there" / target.name])
    with atomic_path(target) as temporary:
        assert temporary.suffix == ".png"
        assert temporary.name.startswith(f".{stem[:10]}")
        temporary.write_bytes(b"x")
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    longer = tmp_path / f"{stem}x.png"
    with pytest.raises(OSError, match="the name is 256 .* long, and 255 are allowed; give the input a shorter name"):
        check_names([target, longer])
    with pytest.raises(OSError, match="choose a name of at most 255 bytes"), atomic_path(longer):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_a_file_has_the_rights_of_any_other_new_file(tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "plain").touch()
    with atomic_path(tmp_path / "tensors.safetensors") as temporary:
        save_file({"x": torch.zeros(1)}, temporary)
    assert (tmp_path / "tensors.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
