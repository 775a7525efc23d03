"""Fixtures that run commands in this process."""

from pathlib import Path

import pytest

from hidra_core.cli import main


@pytest.fixture
def hidra_and_sensor(capfd, monkeypatch, tiny):
    """Runs a command in this process: (exit code, standard output, standard error). hidra-tiny is loaded already."""
    from hidra_core import backbone, weights

    load = {backbone: backbone.load_backbone, weights: weights.load_weights}

    def built_in_or(module, index):
        return lambda source, **options: tiny[index] if str(source) == "hidra-tiny" else load[module](source, **options)

    monkeypatch.setattr(backbone, "load_backbone", built_in_or(backbone, 0))
    monkeypatch.setattr(weights, "load_weights", built_in_or(weights, 1))

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:  # argparse ends the program itself
            code = end.code
        return code, *capfd.readouterr()

    return run


@pytest.fixture
def hidra(hidra_and_sensor):
    """The same without what is said of the sensor stage, which may find something in any picture."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        code, out_text, err_text = hidra_and_sensor(*arguments)
        lines = [line for line in out_text.splitlines(keepends=True) if not line.startswith("sensor: ")]
        return code, "".join(lines), err_text

    return run


@pytest.fixture
def hidra_unloaded(hidra, no_model):
    """The same for commands that must end before a model is loaded."""
    return hidra


@pytest.fixture
def no_model(monkeypatch):
    """No model may be loaded."""

    def fail(*_, **__):
        raise AssertionError("a model was loaded before the command line was checked")

    monkeypatch.setattr("hidra_core.backbone.load_backbone", fail)
    monkeypatch.setattr("hidra_core.weights.load_weights", fail)


@pytest.fixture
def replace_enhance(monkeypatch):
    """Puts a function in the place of the library's ``enhance``; it gets that as its first argument."""
    from hidra_core.sources import enhancing as module

    original = module.enhance
    return lambda function: monkeypatch.setattr(module, "enhance", lambda *a, **k: function(original, *a, **k))
