"""A run over many files: one odd entry neither stops nor widens it, and everything that is not done is said."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import ROOT, clip_files, thermal_files
from helpers.commands import files, pixels, run_program, save_picture, truncate

from hidra_core.cli import main
from hidra_core.cli.results import is_of_earlier_run
from hidra_core.images import EXTENSIONS

posix = pytest.mark.skipif(os.name != "posix", reason="links and signals as POSIX has them")


@pytest.fixture
def two(tmp_path):
    """A folder with two pictures."""
    for name in ("a.png", "b.png"):
        save_picture(tmp_path / "in" / name, seed=ord(name[0]))
    return tmp_path / "in"


def said(err_text: str, kind: str = "hidra: ") -> list[str]:
    """The messages, without the lines of progress."""
    return [line for line in err_text.splitlines() if line.startswith(kind)]


# --- odd entries -----------------------------------------------------------------------------------------------------


@posix
def test_broken_links_fail_alone(hidra, two, tmp_path):
    (two / "broken.png").symlink_to("/nonexistent")
    (two / "loop.png").symlink_to("loop.png")
    code, out_text, err_text = hidra("enhance", two, "-o", tmp_path / "out")
    assert (code, out_text) == (1, "2 enhanced, 2 failed\n")
    first, second = said(err_text)
    assert first == f"hidra: error: {two / 'broken.png'}: a broken link: there is no /nonexistent; mend or remove it"
    assert second.startswith(f"hidra: error: {two / 'loop.png'}: a link that leads back to itself")
    assert files(tmp_path / "out") == ["a.png", "b.png"]

    code, _, err_text = hidra("estimate", two, "-o", tmp_path / "vectors.json")
    assert (code, len(said(err_text))) == (1, 2)
    assert len(json.loads((tmp_path / "vectors.json").read_text())["images"]) == 2
    assert hidra("estimate", two, "-o", tmp_path / "vectors.json", "--overwrite")[:2] == (1, "2 estimated, 2 failed\n")


@posix
def test_broken_links_fail_alone_in_bake_and_evaluate(hidra, two, tmp_path):
    (two / "broken.png").symlink_to("/nonexistent")
    code, _, err_text = hidra("bake", two, "-o", tmp_path / "baked")
    assert code == 1
    assert "1 of 3 files are not in the average" in err_text
    assert (tmp_path / "baked.safetensors").exists()

    options = ("--tasks", "degraded", "--baselines", "none", "--quiet")
    code, _, err_text = hidra("evaluate", two, "-o", tmp_path / "out", *options)
    assert code == 1
    assert "broken.png: a broken link" in err_text
    assert set(json.loads((tmp_path / "out" / "evaluation.json").read_text())["images"]) == {"a.png", "b.png"}


@posix
def test_a_broken_link_that_is_named_fails_alone(hidra, two, tmp_path):
    link = tmp_path / "broken.png"
    link.symlink_to("/nonexistent")
    code, out_text, err_text = hidra("enhance", link, two / "a.png", "-o", tmp_path / "out")
    assert (code, out_text) == (1, "1 enhanced, 1 failed\n")
    assert len(said(err_text)) == 1


@posix
@pytest.mark.timeout(60)
def test_pipes_are_not_waited_for(hidra, two, tmp_path):
    os.mkfifo(two / "pipe.png")
    code, out_text, err_text = hidra("enhance", two, "-o", tmp_path / "out")
    assert (code, out_text) == (0, "2 enhanced, 0 failed\n")
    assert "1 neither file nor folder" in err_text
    code, _, err_text = hidra("enhance", two / "pipe.png", "-o", tmp_path / "out")
    assert code == 1
    assert "a pipe, a socket or a device" in err_text


@posix
def test_files_and_folders_that_may_not_be_read_fail_alone(hidra, two, tmp_path, monkeypatch):
    save_picture(two / "closed" / "c.png")
    scan, opened = os.scandir, type(two).open
    refused = PermissionError(13, "Permission denied", str(two / "closed"))

    def scandir(path):
        if os.fspath(path) == os.fspath(two / "closed"):
            raise refused
        return scan(path)

    def open_path(path, *arguments, **options):
        if path.name == "b.png":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "scandir", scandir)  # root may read everything
    monkeypatch.setattr(type(two), "open", open_path)
    code, out_text, err_text = hidra("enhance", two, "-o", tmp_path / "out")
    assert (code, out_text) == (1, "1 enhanced, 2 failed\n")
    assert [line.partition(": ")[2] for line in said(err_text)] == [
        f"error: {two / 'b.png'}: may not be read; change its permissions",
        f"error: {two / 'closed'}: may not be read; change its permissions",
    ]


@posix
def test_a_name_may_be_any_bytes(hidra, tmp_path):
    odd = os.fsdecode(b"\xff line\nbreak.png")
    save_picture(tmp_path / "in" / "a.png")
    os.replace(tmp_path / "in" / "a.png", tmp_path / "in" / odd)
    assert hidra("enhance", tmp_path / "in", "-o", tmp_path / "out")[0] == 0
    assert hidra("estimate", tmp_path / "in", "--text", "-o", tmp_path / "text")[0] == 0
    assert r"\udcff line" in (tmp_path / "text").read_text(encoding="utf-8")


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [251 * "x" + ".png", 83 * "熱" + "ab.png"], ids=["ascii", "cjk"])
def test_names_as_long_as_names_may_be(hidra, tmp_path, name):
    save_picture(tmp_path / "in" / "a.png")
    os.replace(save_picture(tmp_path / "b.png"), tmp_path / "in" / name)
    assert hidra("enhance", tmp_path / "in", "-o", tmp_path / "out")[:2] == (0, "2 enhanced, 0 failed\n")
    assert set(files(tmp_path / "out")) == {"a.png", name}
    for option in (("--compare",), ("--report",), ("--format", "tiff")):
        out = tmp_path / f"out{option[0]}"
        code, out_text, err_text = hidra("enhance", tmp_path / "in", "-o", out, *option)
        assert (code, out_text) == (1, "1 enhanced, 1 failed\n")
        [line] = said(err_text)
        assert "255 are allowed; give the input a shorter name" in line
        assert name not in files(out)
        assert hidra("enhance", tmp_path / "in", "-o", out, *option)[1] == "0 enhanced, 1 failed, 1 skipped\n"


def test_results_that_would_share_a_name_keep_their_whole_names(hidra, tmp_path):
    for seed, name in enumerate(("a.bmp", "a.png", "b.png")):
        save_picture(tmp_path / "in" / name, seed=seed)
    command = ("enhance", tmp_path / "in", "-o", tmp_path / "out", "--format", "tiff", "--compare", "--blend", "0")
    code, out_text, err_text = hidra(*command)
    assert (code, out_text) == (0, "3 enhanced, 0 failed\n")
    [line] = said(err_text, "hidra: warning: ")
    assert "2 of 3 results have the whole names" in line
    assert line.endswith("a.bmp gives a.bmp.tiff")
    results = ["a.bmp.tiff", "a.png.tiff", "b.tiff"]
    assert files(tmp_path / "out") == sorted([*results, *(f"{name[:-5]}-compare.png" for name in results)])
    for name in results[:2]:
        assert np.array_equal(pixels(tmp_path / "out" / name), pixels(tmp_path / "in" / name[:-5]))
    assert hidra(*command)[:2] == (0, "0 enhanced, 0 failed, 3 skipped\n")


def test_a_result_that_keeps_its_name_has_it_first(hidra, tmp_path):
    (tmp_path / "in").mkdir()
    thermal_files.flir_jpeg(tmp_path / "in" / "x.jpg", thermal_files.fff(thermal_files.frame()))
    thermal_files.tiff_pages(tmp_path / "in" / "x.tiff", [thermal_files.frame(seed=1)])
    thermal_files.tiff_pages(tmp_path / "in" / "x.jpg.tiff", [thermal_files.frame(seed=2)])
    assert hidra("enhance", tmp_path / "in", "-o", tmp_path / "out", "--blend", "0")[0] == 0
    assert files(tmp_path / "out") == ["x.jpg.tiff", "x.jpg.tiff.tiff", "x.tiff"]
    for name, seed in (("x.tiff", 1), ("x.jpg.tiff", 2), ("x.jpg.tiff.tiff", 0)):
        assert np.array_equal(pixels(tmp_path / "out" / name), thermal_files.frame(seed=seed))


@posix
def test_names_that_differ_in_case_only_do_not_clash_unless_they_change(hidra, tmp_path):
    for name in ("a.png", "A.png"):
        save_picture(tmp_path / "in" / name)
    assert hidra("enhance", tmp_path / "in", "-o", tmp_path / "out")[0] == 0
    assert files(tmp_path / "out") == ["A.png", "a.png"]
    assert hidra("enhance", tmp_path / "in", "-o", tmp_path / "tiff", "--format", "tiff")[0] == 0
    assert len({name.casefold() for name in files(tmp_path / "tiff")}) == 2


def test_what_is_written_beside_two_results_is_named_after_the_whole_names(hidra, tmp_path):
    for name in ("a.jpg", "a.png", "b.png"):
        save_picture(tmp_path / "in" / name)
    out = tmp_path / "out"
    assert hidra("enhance", tmp_path / "in", "-o", out, "--compare", "--report", "--blend", "0")[0] == 0
    endings = ["", "-compare.png", "-trust.json", "-trust.png"]
    beside = [f"{name}{ending}" for name in ("a.jpg", "a.png", "b") for ending in endings[1:]]
    assert files(out) == sorted(["a.jpg", "a.png", "b.png", *beside])
    record = json.loads((out / "a.jpg-trust.json").read_text())
    assert record["files"]["output"] == str(out / "a.jpg")
    assert "9 made by an earlier run" in hidra("enhance", out, "-o", tmp_path / "again", "--blend", "0")[2]
    # a result's own reports go with it, and one that may be another's stays
    (out / "a-radiometric.json").touch()
    code, _, err_text = hidra("enhance", tmp_path / "in" / "a.jpg", "-o", out, "--overwrite", "--blend", "0")
    assert code == 0
    assert f"{out / 'a-radiometric.json'} may be about an older result" in err_text
    assert files(out) == sorted(["a-radiometric.json", "a.jpg", "a.png", "b.png", *beside[3:]])


# --- what was passed over --------------------------------------------------------------------------------------------


@posix
def test_what_was_passed_over_is_said_at_the_end(hidra, two, tmp_path):
    for name in ("1.txt", "2.txt", "3.csvx", "NOEXTENSION", ".hidden.txt", ".cache/x.png"):
        (two / name).parent.mkdir(exist_ok=True)
        (two / name).touch()
    (two / "elsewhere").symlink_to(tmp_path, target_is_directory=True)
    truncate(two / "b.png")
    code, _, err_text = hidra("enhance", two, "-o", tmp_path / "out")
    assert code == 1
    assert err_text.splitlines()[-1] == (
        f"hidra: warning: 5 entries of {two} were passed over: 2 .txt, 1 .csvx, 1 without extension (not looked for by "
        "extension), 1 linked from elsewhere (links to folders are not followed); --verbose names each"
    )
    err_text = hidra("estimate", two, "--verbose", "-o", tmp_path / "vectors.json")[2]
    for name in ("1.txt", "2.txt", "3.csvx", "NOEXTENSION", "elsewhere"):
        assert sum(f"{two / name} is passed over: " in line for line in said(err_text, "hidra: info: ")) == 1
    assert hidra("enhance", two, "-o", tmp_path / "other", "--quiet")[2].count("\n") == 1
    assert "passed over: 1 .txt" in hidra("enhance", two / "1.*", "-o", tmp_path / "out")[2]


def test_sheets_of_an_earlier_run_are_no_inputs(hidra, two, tmp_path):
    save_picture(two / "own-compare.png")  # with no own.* beside it, it is the user's
    options = ("--compare", "--report", "--blend", "0")
    assert hidra("enhance", two, "-o", two / "clear", *options)[1] == "3 enhanced, 0 failed\n"
    code, out_text, err_text = hidra("enhance", two, "-o", two / "other", *options)
    assert (code, out_text) == (0, "6 enhanced, 0 failed\n")
    assert f"9 entries of {two} were passed over: 9 made by an earlier run" in err_text
    # named by itself, every file is taken
    code, out_text, _ = hidra("enhance", two / "clear" / "a-compare.png", "-o", tmp_path / "out", *options)
    assert (code, out_text) == (0, "1 enhanced, 0 failed\n")


def test_sheets_of_an_evaluation_are_no_inputs(hidra, two, tmp_path):
    options = ("--tasks", "fpn", "--metrics", "psnr", "--baselines", "none", "--keep-outputs")
    assert hidra("evaluate", two, "-o", two / "results", *options)[0] == 0
    code, out_text, err_text = hidra("enhance", two, "-o", tmp_path / "out", "--blend", "0")
    assert (code, out_text) == (0, "2 enhanced, 0 failed\n")
    assert "2 made by an earlier run" in err_text


def test_many_sheets_are_sorted_out_fast() -> None:
    names = frozenset(f"{number}{ending}" for number in range(20000) for ending in (".png", "-compare.png"))
    started = time.monotonic()
    assert sum(is_of_earlier_run(name, names, EXTENSIONS) for name in names) == 20000
    assert time.monotonic() - started < 5


def test_results_in_the_output_folder_are_counted(hidra, two):
    hidra("enhance", two, "-o", two / "clear", "--blend", "0")
    code, out_text, err_text = hidra("enhance", two, "-o", two / "clear", "--blend", "0")
    assert (code, out_text) == (0, "0 enhanced, 0 failed, 2 skipped\n")
    assert "2 in the output folder" in err_text


# --- results that exist ----------------------------------------------------------------------------------------------


def test_reports_of_a_replaced_result_go_with_it(hidra, two, tmp_path):
    out = tmp_path / "out"
    for seed, name in enumerate(("a.png", "b.png")):
        save_picture(two / name, "I;16", seed)
    assert hidra("enhance", two, "-o", out, "--radiometric", "--report", "--compare")[0] == 0
    reports = ["-compare.png", "-radiometric.json", "-trust.json", "-trust.png"]
    assert files(out) == sorted([f"{stem}{ending}" for stem in "ab" for ending in [*reports, ".png"]])
    (out / "c-compare.png").touch()
    truncate(two / "b.png")
    assert hidra("enhance", two, "-o", out, "--overwrite", "--compare")[0] == 1
    # those of the input that failed stay: they belong to the result that is still there
    assert files(out) == sorted(["a-compare.png", "a.png", "c-compare.png", *(f"b{end}" for end in [*reports, ".png"])])


def test_a_sheet_that_is_another_result_is_never_removed(hidra, two, tmp_path):
    sheet = save_picture(two / "a-compare.png")
    command = ("enhance", two / "a.png", sheet, "-o", tmp_path / "out", "--blend", "0", "--overwrite")
    for _ in range(2):
        assert hidra(*command)[:2] == (0, "2 enhanced, 0 failed\n")
        assert files(tmp_path / "out") == ["a-compare.png", "a.png"]
    assert hidra(*command, "--compare")[:2] == (0, "2 enhanced, 0 failed\n")
    assert files(tmp_path / "out") == ["a-compare-compare.png", "a-compare.png", "a.png", "a.png-compare.png"]
    assert np.array_equal(pixels(tmp_path / "out" / "a-compare.png"), pixels(sheet))


def test_a_result_without_all_that_is_wanted_is_not_done(hidra, two, tmp_path):
    out = tmp_path / "out"
    hidra("enhance", two, "-o", out)
    (out / "a-compare.png").touch()
    before = pixels(out / "b.png")
    code, out_text, err_text = hidra("enhance", two, "-o", out, "--compare", "--blend", "0")
    assert (code, out_text) == (1, "0 enhanced, 0 failed, 1 skipped, 1 left incomplete\n")
    assert "1 of 2 results exist, but not all files that are wanted beside them; --overwrite" in err_text
    assert np.array_equal(pixels(out / "b.png"), before), "nothing is replaced unasked"
    assert hidra("enhance", two, "-o", out, "--compare", "--blend", "0", "--overwrite")[0] == 0
    assert files(out) == ["a-compare.png", "a.png", "b-compare.png", "b.png"]


def test_estimate_writes_nothing_when_nothing_could_be_estimated(hidra, two, tmp_path):
    for name in ("a.png", "b.png"):
        truncate(two / name)
    code, out_text, err_text = hidra("estimate", two)
    assert (code, out_text) == (1, "")
    assert said(err_text)[-1] == "hidra: error: none of 2 files could be estimated, and nothing is written"
    assert hidra("estimate", two, "-o", tmp_path / "vectors.json")[0] == 1
    assert not (tmp_path / "vectors.json").exists()


def test_bake_writes_nothing_when_nothing_could_be_read(hidra, two, tmp_path):
    for name in ("a.png", "b.png"):
        truncate(two / name)
    assert hidra("bake", two, "-o", tmp_path / "baked")[0] == 1
    assert files(tmp_path) == ["in/a.png", "in/b.png"]


# --- progress, messages and signals ----------------------------------------------------------------------------------


def test_lines_of_progress_without_a_terminal(hidra, two, tmp_path, monkeypatch):
    err_text = hidra("enhance", two, "-o", tmp_path / "out")[2]
    first, second = (line.split() for line in err_text.splitlines())
    assert (first[:2], second[:2]) == (["1/2", "a.png:"], ["2/2", "b.png:"])
    assert float(first[2]) >= 0
    assert first[3] == "s"
    assert hidra("enhance", two, "-o", tmp_path / "quiet", "--quiet")[2] == ""

    monkeypatch.setattr("hidra_core.cli.progress._SECONDS", 0.0)
    clip = clip_files.write_clip(tmp_path / "a.mp4", clip_files.static_scene(2, 64, 64) * 20)
    lines = hidra("enhance", clip, "-o", tmp_path / "out")[2].splitlines()
    shares = [float(line.removeprefix("1/1 a.mp4: ").removesuffix(" % of all")) for line in lines]
    assert shares == sorted(shares)
    assert any(0 < share < 100 for share in shares)


@posix
def test_work_goes_on_when_nobody_reads_the_progress(two, tmp_path):
    program = subprocess.Popen(
        [sys.executable, "-m", "hidra_core", "enhance", str(two), "-o", str(tmp_path / "out"), "--blend", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    program.stderr.close()
    assert program.stdout.read() == "2 enhanced, 0 failed\n"
    program.stdout.close()
    assert program.wait() == 0


def test_a_bar_on_a_terminal(hidra, two, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    err_text = hidra("enhance", two, "-o", tmp_path / "out")[2]
    assert "\r" in err_text
    assert "2/2 b.png 100%" in err_text


def test_an_error_that_explains_itself_has_no_traceback(hidra, two, tmp_path, monkeypatch):
    truncate(two / "a.png")
    err_text = hidra("enhance", two, "-o", tmp_path / "out", "--verbose")[2]
    assert "a.png is damaged" in err_text
    assert "Traceback" not in err_text

    monkeypatch.setattr("hidra_core.sources.enhancing.enhance", lambda *_, **__: np.zeros(2) + np.zeros(3))
    err_text = hidra("enhance", two / "b.png", "-o", tmp_path / "other", "--verbose")[2]
    assert "Traceback" in err_text, "a ValueError that this program did not raise"


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_leaves_nothing_behind(tmp_path, name):
    number = getattr(signal, name)
    clip = clip_files.write_clip(tmp_path / "a.mp4", clip_files.static_scene(2, 64, 64) * 1000)
    out = tmp_path / "out"
    program = subprocess.Popen(
        [sys.executable, "-m", "hidra_core", "enhance", str(clip), "-o", str(out), "--compare", "--device", "cpu"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        # a program that nohup starts, as it may start the tests, has it ignored
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while len(files(out)) < 2 and program.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [path[:3] for path in files(out)] == [".a-", ".a-"], "both are being written"
    program.send_signal(number)
    err_text = program.communicate(timeout=60)[1]
    assert program.returncode == 128 + number
    assert (
        err_text
        == f"hidra: error: stopped; the files in {out} are complete, and the same command continues from there\n"
    )
    assert files(out) == []


@posix
def test_a_signal_that_the_caller_ignores_stays_ignored(two, tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert main(["enhance", str(two), "-o", str(tmp_path / "out"), "--blend", "0", "--quiet"]) == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


# --- the command line ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("enhance", "--kelvn", "0.01"), "unknown option --kelvn; did you mean --kelvin?"),
        (("enhance", "a.png", "-o", "out", "--overwite"), "unknown option --overwite; did you mean --overwrite?"),
        (("enhance", "a.png", "-output", "out"), "unknown option -output; did you mean --output?"),
        (("enhance", "a.png", "--xyzzy=3"), "unknown option --xyzzy"),
        (("enhance", "a.png", "-z"), "unknown option -z"),
        (("--verison",), "unknown option --verison; did you mean --version?"),
        (("enhnce", "a.png"), "there is no command 'enhnce'; did you mean enhance?"),
        (("enhance", "a.png", "-o", "out", "--strength", "much"), "--strength: invalid float value: 'much'"),
        (("enhance", "", "-o", "x"), "an empty name is no input; is a variable not set?"),
        (("enhance", "a.png", "--quiet", "", "-o", "x"), "an empty name is no input; is a variable not set?"),
        (("enhance", "a.png", "-o", ""), "-o is followed by an empty name; is a variable not set?"),
        (("enhance", "a.png", "--output="), "--output is followed by an empty name; is a variable not set?"),
        (("evaluate", "--references", "", "-o", "x"), "--references is followed by an empty name"),
        (("bake", "a.png", "--", ""), "an empty name is no input"),
    ],
)
def test_wrong_words_are_named_in_one_line(hidra_unloaded, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    save_picture(tmp_path / "a.png")
    code, out_text, err_text = hidra_unloaded(*words)
    assert (code, out_text) == (2, "")
    first, second = err_text.splitlines()
    assert first.startswith(f"hidra: error: {message}")
    if "did you mean" not in message:
        assert "did you mean" not in first
    assert second.startswith("hidra ")
    assert "--help lists the" in second
    assert files(tmp_path) == ["a.png"]


def test_options_may_be_cut_short_and_values_may_look_like_options(hidra, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_picture(tmp_path / "a.png")
    os.replace(save_picture(tmp_path / "b.png"), tmp_path / "- b.png")
    words = (
        "enhance",
        "a.png",
        "- b.png",
        "-oout",
        "--over",
        "--mapping",
        "linear",
        "--limits",
        "-5",
        "300",
        "--quiet",
    )
    assert hidra(*words) == (0, "", "")


def test_an_empty_name_as_a_program(tmp_path):
    done = run_program("enhance", " ", "--output", tmp_path / "out")
    assert done.returncode == 2
    assert "an empty name; name a file" in done.stderr
    assert files(tmp_path) == []
