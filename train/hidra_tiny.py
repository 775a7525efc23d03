"""Train hidra-tiny: one program from clean images to the two files that ship.

    python train/hidra_tiny.py data.train=/my/images                  # half an hour on a large GPU
    python train/hidra_tiny.py whole.seconds=3600                     # override any value
    python train/hidra_tiny.py …                                      # again: resumes its checkpoint

The recipe is ``train/recipes/hidra-tiny.yaml``; ``--config`` takes another. Phases end by the clock, and the learning
rate falls by the clock, so that any machine spends the same time and the better one sees more frames:

1. ``estimator``: the DEM learns to tell how a frame was degraded and how bright it was.
2. ``small``: everything but the DEM's backbone, which the method freezes, learns to restore small frames.
3. ``whole``: the same on large frames.

Images lie on the device as bytes, and frames are cut and degraded there in batches. ``run.output`` receives
``config.yaml``, ``log.csv``, and at every ``run.save_seconds`` ``checkpoint.pt``, ``backbone.safetensors`` and
``weights.safetensors``, each written beside and renamed: a run that is killed loses the time since then. Ctrl-C saves a
checkpoint and exits. Probes and restraint are fitted afterwards, by the programs of ``train/probing``.

On a GPU the networks are compiled, which takes minutes; meanwhile the first phase runs beside, in a process of its own
(``--estimator``). ``--warm-up`` compiles the networks for every size and exits: a later run finds the result in the
compiler's cache.
"""

from __future__ import annotations

import argparse
import logging
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from anywhere

from hidra_core.cli.console import reason
from train.pretraining.clock import RECIPE, read_recipe
from train.pretraining.clocked import ClockedTraining
from train.pretraining.warm import warm_up

log = logging.getLogger("train")


def main(arguments: list[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: of the command line; None: those of the process.

    Returns:
        The exit code: 130 where Ctrl-C ended the run.
    """
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("The recipe")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default=RECIPE, help="a YAML file (default: %(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="replace a value of the recipe")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--warm-up", action="store_true", help="only compile the networks for every size")
    only.add_argument("--estimator", action="store_true", help="only the first phase")
    options = parser.parse_intermixed_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        recipe = read_recipe(options.config, options.overrides)
        recipe.run.output.mkdir(parents=True, exist_ok=True)
        training = ClockedTraining(recipe)
        if options.warm_up:
            warm_up(training, timed=0)
            return 0
        if options.estimator:
            training.all_phases("estimator")
            return 0
        recipe.write(recipe.run.output / "config.yaml")
        if training.compiles:
            _compile_beside(training, [str(options.config), *options.overrides])
        training.all_phases()
        log.info("exported %s and %s", *training.export())
    except KeyboardInterrupt:
        log.info("interrupted; the same command continues from the checkpoint")
        return 130
    except (ValueError, OSError) as error:
        log.error("error: %s", reason(error))
        return 1
    return 0


def _compile_beside(training: ClockedTraining, options: list[str]) -> None:
    """Compile while another process runs the first phase; where that fails, the run goes on from its checkpoint."""
    beside = None
    if training.phase == 0 and training.recipe.estimator.seconds:
        config, *overrides = options
        beside = subprocess.Popen([sys.executable, __file__, "--estimator", "--config", config, *overrides])
    try:
        warm_up(training)
    finally:
        if beside is not None:
            beside.wait()
            training.resume()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts background jobs with Ctrl-C ignored
        signal.signal(number, signal.default_int_handler)
    sys.exit(main())
