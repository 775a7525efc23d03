"""What the workers of a cluster do, without one; benchmarks/many_machines.py has one, and kills parts of it."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from helpers.commands import files, save_picture, truncate

from hidra_core.cli import build_parser, cluster, enhance
from hidra_core.cli.console import UsageError
from hidra_core.cli.results import in_use
from hidra_core.cli.shards import ledger_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        save_picture(tmp_path / "in" / f"{number}.png", seed=number)
    truncate(tmp_path / "in" / "1.png")
    return tmp_path / "in"


def test_a_row_for_each_file_and_none_is_done_twice(hidra, folder, tmp_path, monkeypatch):
    hidra("enhance", folder, "-o", tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    arguments = build_parser().parse_args(["enhance", "in", "-o", "out", "--engine-address", "auto"])
    jobs = enhance._plan(arguments)
    sent = cluster._with_absolute_paths(arguments), [cluster._absolute_job(job) for job in jobs]
    monkeypatch.chdir("/")  # a worker is somewhere else
    worker = cluster.Worker(*sent, in_use(jobs), cluster.__version__)
    rows = worker({"number": [0, 1, 2]})
    assert [bool(error) for error in rows["error"]] == [False, True, False]
    assert "1.png is damaged" in rows["error"][1]
    assert files(tmp_path / "out") == ["0.png", "2.png"]
    for name in files(tmp_path / "out"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    before = (tmp_path / "out" / "0.png").stat().st_mtime_ns
    assert worker({"number": [0]})["error"] == [""]
    assert (tmp_path / "out" / "0.png").stat().st_mtime_ns == before
    worker.close()

    with pytest.raises(RuntimeError, match="install the same version on all machines"):
        cluster.Worker(*sent, set(), "0.0.1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--workers", "3"), "--workers is about a cluster: give --engine-address too"),
        (("--worker-gpus", "0.5"), "--worker-gpus is about a cluster"),
        (("--engine-address", "auto", "--shard", "1/2"), "--shard is for this machine alone"),
        (("--engine-address", "auto", "--flight"), "--flight is for this machine alone"),
        (("--engine-address", "auto", "--jobs", "2"), "--jobs is for this machine alone"),
        (("--engine-address", "auto", "--worker-cpus", "0"), "expected a number above 0, got '0'"),
    ],
)
def test_options_that_exclude_each_other(hidra_unloaded, folder, tmp_path, options, message):
    code, _, err_text = hidra_unloaded("enhance", folder, "-o", tmp_path / "out", *options)
    assert code == 2
    assert message in err_text


def test_folders_as_urls_of_files(folder, tmp_path, monkeypatch):
    out = tmp_path / "a b"
    text = ["enhance", folder.as_uri(), "-o", out.as_uri(), "--engine-address", "auto", "--blend", "0"]
    arguments = build_parser().parse_args(text)
    jobs = enhance._plan(arguments)
    assert [job.source for job in jobs] == [folder / f"{number}.png" for number in range(3)]
    monkeypatch.chdir("/")
    sent = cluster._with_absolute_paths(arguments), [cluster._absolute_job(job) for job in jobs]
    worker = cluster.Worker(*sent, set(), cluster.__version__)
    rows = worker({"number": [0, 1, 2]})
    worker.close()
    assert [bool(error) for error in rows["error"]] == [False, True, False]
    assert files(out) == ["0.png", "2.png"]
    ledger = ledger_of(arguments)
    assert ledger is not None
    assert ledger.path == out / "hidra-ledger" / "cluster.jsonl"


@pytest.mark.parametrize("name", ["s3://bucket/clear", "gs://bucket", "memory://clear", "file://clear"])
def test_what_is_no_folder_is_refused(hidra_unloaded, folder, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    message = "expected file:///FOLDER" if name.startswith("file") else "mount the bucket or share as a folder"
    for command in (("enhance", folder, "-o", name), ("enhance", name, "-o", tmp_path / "out")):
        code, _, err_text = hidra_unloaded(*command, "--blend", "0")
        assert code == 2
        assert name in err_text
        assert message in err_text
    assert files(tmp_path) == [f"in/{number}.png" for number in range(3)]


def test_no_cluster_answers_or_none_without_its_token():
    class RayError(Exception):
        pass

    class AuthenticationError(RayError):
        pass

    wrapped = ConnectionError("Failed to connect to Ray cluster at 1.2.3.4:6379")
    wrapped.__cause__ = RuntimeError("Last connection error: ray.exceptions.AuthenticationError: RPC error")
    arguments = build_parser().parse_args(["enhance", "in", "-o", "out", "--engine-address", "first:6379"])
    for error, message in (
        (AuthenticationError("InvalidAuthToken"), "first:6379: the Ray cluster asks for its token: set RAY_AUTH_MODE="),
        (wrapped, "the Ray cluster asks for its token"),
        (ConnectionError("refused"), "no Ray cluster answers \\(refused\\); start one with 'ray start --head'"),
        (RayError("timed out"), "no Ray cluster answers \\(timed out\\)"),
    ):
        ray = SimpleNamespace(init=Mock(side_effect=error), exceptions=SimpleNamespace(RayError=RayError))
        with pytest.raises(UsageError, match=message):
            cluster._connect(ray, arguments)


def test_without_ray(hidra_unloaded, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err_text = hidra_unloaded("enhance", folder, "-o", tmp_path / "out", "--engine-address", "local")
    assert code == 1
    assert "pip install 'hidra-thermal[cluster]'" in err_text
    assert not (tmp_path / "out").exists()
