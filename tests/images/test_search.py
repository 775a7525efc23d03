"""The order in which image files are listed."""

from pathlib import Path

from hidra_core.images import find_images


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
