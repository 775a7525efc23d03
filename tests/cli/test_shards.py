"""Several processes share the files: each file is in one part, and ledgers say what became of it."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from pathlib import Path

import pytest
from helpers.commands import files, save_picture, truncate

from hidra_core.cli.shards import Ledger, Shard, _shard


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(8):
        save_picture(tmp_path / "in" / "sub" / f"{number}.png", seed=number)
    truncate(tmp_path / "in" / "sub" / "3.png")
    return tmp_path / "in"


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def ledger(out: Path, number: int, count: int) -> Path:
    return out / "hidra-ledger" / f"shard-{number}-of-{count}.jsonl"


def test_each_file_is_in_one_part_whatever_the_others_are():
    names = [Path(f"flight/{number}.tiff") for number in range(1000)]
    parts = [[name for name in names if Shard(number, 7).has(name)] for number in range(1, 8)]
    assert sorted(name for part in parts for name in part) == sorted(names)
    assert all(100 < len(part) < 190 for part in parts)
    assert all(Shard(1, 1).has(name) for name in names)
    assert [Shard(2, 3).has(name) for name in names[:8]] == [True, False, True, False, False, True, False, False], (
        "processes of different versions would do files twice, or never"
    )


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4", "1/4/2"])
def test_parts_that_are_none(text):
    with pytest.raises(ArgumentTypeError, match="I from 1 to N"):
        _shard(text)


def test_parts_do_all_files_and_note_each(hidra, folder, tmp_path):
    out, whole = tmp_path / "out", tmp_path / "whole"
    hidra("enhance", folder, "-o", whole, "--blend", "0.5")
    for number in (1, 2, 3):
        hidra("enhance", folder, "-o", out, "--blend", "0.5", "--shard", f"{number}/3")
    results = [name for name in files(out) if not name.startswith("hidra-ledger")]
    assert results == files(whole)
    assert all((out / name).read_bytes() == (whole / name).read_bytes() for name in results)
    noted = [row for number in (1, 2, 3) for row in rows(ledger(out, number, 3))]
    assert sorted((row["file"], row["state"]) for row in noted) == [
        (f"sub/{number}.png", "failed" if number == 3 else "enhanced") for number in range(8)
    ]
    [failed] = [row for row in noted if row["state"] == "failed"]
    assert "3.png is damaged" in failed["error"]

    before = {number: ledger(out, number, 3).read_bytes() for number in (1, 2, 3)}
    for number in (1, 2, 3):
        hidra("enhance", folder, "-o", out, "--blend", "0.5", "--shard", f"{number}/3")
    grown = [number for number in (1, 2, 3) if ledger(out, number, 3).read_bytes() != before[number]]
    assert len(grown) == 1, "a second run tries the broken one again, and does nothing else"


def test_after_a_kill(hidra, folder, tmp_path):
    out = tmp_path / "out"
    command = ("enhance", folder, "-o", out, "--blend", "0", "--shard", "1/1")
    assert hidra(*command)[1] == "7 enhanced, 1 failed\n"
    path = ledger(out, 1, 1)
    lines = path.read_text().splitlines(keepends=True)
    # killed while a line was written, after the result was there; and while a result was written
    path.write_text("".join(line for line in lines if "/7.png" not in line) + lines[0][:20])
    (out / "sub" / "5.png").unlink()
    (out / "sub" / ".5-0123abcd.png").write_bytes(b"half")
    (out / "sub" / ".other-0123abcd.png").write_bytes(b"another's")
    code, out_text, err_text = hidra(*command)
    assert (code, out_text) == (1, "1 enhanced, 1 failed, 6 skipped\n")
    assert f"1 results that {path} names are no longer there, such as {out / 'sub' / '5.png'}, and are made" in err_text
    assert (out / "sub" / "5.png").exists()
    assert not (out / "sub" / ".5-0123abcd.png").exists()
    assert (out / "sub" / ".other-0123abcd.png").exists()
    text = path.read_text()
    states = {}
    for line in text.splitlines():
        try:
            row = json.loads(line)
            states[row["file"]] = row["state"]
        except json.JSONDecodeError:
            assert line == lines[0][:20]
    assert states["sub/7.png"] == "found"
    assert states["sub/5.png"] == "enhanced"
    assert set(states) == {f"sub/{number}.png" for number in range(8)}


def test_a_ledger_that_cannot_be_read_as_such(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"file": "a.png", "state": "enhanced"}\n[1]\n"x"\n{"file": "b')
    assert Ledger(path)._states == {"a.png": "enhanced"}


def test_a_flight_is_not_shared(hidra_unloaded, folder, tmp_path):
    code, _, err_text = hidra_unloaded("enhance", folder, "-o", tmp_path / "out", "--flight", "--shard", "1/2")
    assert code == 2
    assert "--flight levels all frames together" in err_text
