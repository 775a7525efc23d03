"""Pretrain a small backbone from nothing, with its DEM and adapter, as hidra-tiny was made.

    python train/pretrain.py --config hidra-tiny-prior data.train=/my/images
    python train/pretrain.py --config … joint.steps=200                             # override any value
    python train/pretrain.py --config …                                             # again: resumes its checkpoint
    python train/pretrain.py --config … --export                                    # only write the files

``--config`` is the name of a file of ``train/configs`` or a path. Training has five phases, each with its steps, batch
and learning rate in the configuration:

1. ``estimator``: the DEM learns to tell how a frame was degraded and how bright it was.
2. ``autoencoder``: the autoencoder learns to reproduce clean images.
3. ``joint``: everything but the DEM's backbone, which the method freezes, learns to restore small crops.
4. ``finish``: the same on large crops.
5. ``whole``: the UNet and its adapter alone see whole frames, as no crop shows how shading continues beyond it.

A phase of 0 steps is left out. ``run.init`` starts from the folder of an earlier export instead of from nothing;
``run.new_dem`` then still trains another DEM from nothing. Whenever the DEM changes, the adapter that was made for the
earlier one gets the linear map that best reads the earlier vectors from the new ones.

``run.output`` receives ``config.yaml``, ``log.csv``, ``checkpoint.pt`` and at the end ``backbone.safetensors`` and
``weights.safetensors``. Ctrl-C saves a checkpoint and exits; a checkpoint of another configuration is refused.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from anywhere

from hidra_core.cli.console import reason
from train.method.config import add_options
from train.pretraining.config import read_config
from train.pretraining.trainer import Training, export

log = logging.getLogger("train")


def main(arguments: list[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: of the command line; None: those of the process.

    Returns:
        The exit code: 130 where Ctrl-C ended the run.
    """
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("``--config``")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--export", action="store_true", help="only write the files of the newest checkpoint")
    options = parser.parse_intermixed_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        config = read_config(options.config, options.overrides)
        if not options.export:
            training = Training(config)
            config.write(config.run.output / "config.yaml")
            training.all_phases()
        log.info("exported %s and %s", *export(config))
    except KeyboardInterrupt:
        log.info("interrupted; the same command continues from the checkpoint")
        return 130
    except (ValueError, OSError) as error:
        log.error("error: %s", reason(error))
        return 1
    return 0


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts background jobs with Ctrl-C ignored
        signal.signal(number, signal.default_int_handler)
    sys.exit(main())
