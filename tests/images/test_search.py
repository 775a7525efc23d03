"""Which files are listed, in which order, and what is passed over."""

import os
from pathlib import Path

import pytest

from hidra_core.images import find_images
from hidra_core.images.search import Found, check_entry, in_words, search


def test_digits_count_as_numbers_and_case_does_not_count_folder_by_folder(tmp_path: Path) -> None:
    expected = [
        "1.png",
        "2.jpg",
        "2.png",
        "10.png",
        "a/001.png",  # equal numbers: by spelling
        "a/01.png",
        "a/1.png",
        "a2/x.png",
        "a10/x.png",
        "a b.png",
        "a.b.png",
        "b/Img_2.png",
        "b/img_10.png",
        "B2/x1.5.png",
        "B2/x1.10.png",
        "c1e2.png",
        "c1e10.png",
        "c-1.png",
        "c-2.png",
    ]
    for name in reversed(expected):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [name.as_posix() for _, name in find_images([tmp_path])] == expected


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def passed_over(folder: Path, found: Found) -> dict[str, str]:
    return {entry.path.relative_to(folder).as_posix(): entry.reason for entry in found.passed_over}


def test_what_is_passed_over_has_a_reason(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.txt", "sub/c.SEQ", "sub/made.png", "ours/d.png", ".hidden", ".git/x.png")
    found = search([tmp_path], (".png",), lambda name, names: name in ("made.png", "ours") and len(names) > 1)
    assert [name.as_posix() for _, name in found.files] == ["a.png"]
    assert passed_over(tmp_path, found) == {
        "b.txt": "not looked for by extension",
        "ours": "made by an earlier run",
        "sub/c.SEQ": "not looked for by extension",
        "sub/made.png": "made by an earlier run",
    }
    assert in_words(found.passed_over) == "1 .seq, 1 .txt (not looked for by extension), 2 made by an earlier run"


def test_what_another_input_names_is_not_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.txt")
    found = search([tmp_path, tmp_path / "b.txt"], (".png",))
    assert [name.as_posix() for _, name in found.files] == ["a.png", "b.txt"]
    assert found.passed_over == []


def test_patterns_pass_over_too(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.txt", "sub/c.png", ".hidden.png")
    found = search([tmp_path / "*"], (".png",))
    assert [name.as_posix() for _, name in found.files] == ["a.png"]
    assert passed_over(tmp_path, found) == {
        "b.txt": "not looked for by extension",
        "sub": "matched as a folder (a pattern searches folders with **)",
    }
    found = search([tmp_path / "**"], (".png",))
    assert [name.as_posix() for _, name in found.files] == ["a.png", "sub/c.png"]
    assert list(passed_over(tmp_path, found)) == ["b.txt"]


def test_nothing_but_what_is_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{number}.{number:03}" for number in range(12)), "x.txt", "y.txt")
    with pytest.raises(FileNotFoundError, match=r"passed over: 2 .txt, 1 .000, .*, 5 of other kinds \(not looked for"):
        search([tmp_path])
    with pytest.raises(FileNotFoundError, match=r"matches this pattern.*passed over: 2 .txt"):
        search([tmp_path / "*.txt"])


@pytest.mark.skipif(os.name != "posix", reason="links as POSIX has them")
def test_links_and_loops(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.png")
    folder = tmp_path / "in"
    folder.mkdir()
    for name, target in {"a.png": "../real/a.png", "b.png": "nowhere", "c.png": "c.png", "real": "../real"}.items():
        (folder / name).symlink_to(target)
    found = search([folder])
    assert [name.as_posix() for _, name in found.files] == ["a.png", "b.png", "c.png"]
    assert passed_over(folder, found) == {"real": "linked from elsewhere (links to folders are not followed)"}
    assert [name.as_posix() for _, name in find_images([folder / "*.png"])] == ["a.png", "b.png", "c.png"]
    check_entry(folder / "a.png")
    with pytest.raises(FileNotFoundError, match="a broken link: there is no nowhere"):
        check_entry(folder / "b.png")
    with pytest.raises(OSError, match="a link that leads back to itself"):
        check_entry(folder / "c.png")
    with pytest.raises(FileNotFoundError, match="moved or deleted"):
        check_entry(folder / "d.png")
    with pytest.raises(IsADirectoryError, match="this is a folder"):
        check_entry(folder)


@pytest.mark.parametrize("given", ["", " ", "\t"])
def test_an_empty_name_is_nothing(given: str) -> None:
    with pytest.raises(FileNotFoundError, match="an empty name"):
        search([given])


def test_names_with_a_tilde_or_of_any_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "~no-such-user.png", " ")
    assert [name.as_posix() for _, name in find_images(["~no-such-user.png", " "])] == ["~no-such-user.png", " "]
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        find_images([300 * "x"])
