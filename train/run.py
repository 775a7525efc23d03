"""Fine-tune HiDRA's DEM and adapter on a frozen one-step backbone, by bi-level optimisation.

    python train/run.py --config toy                                                # does it work here? two minutes
    python train/run.py --config sd-turbo data.train=/my/images                     # the paper's setting, one GPU
    accelerate launch --num_processes 4 train/run.py --config sd-turbo …            # several GPUs
    python train/run.py --config sd-turbo … solver.strategy=joint run.seed=1        # any value
    python train/run.py --config sd-turbo … --no-mia                                # ablation: DEM without MIA
    python train/run.py --config sd-turbo …                                         # again: resumes where it stopped

``--config`` takes the name of a file of ``train/configs`` or a path. ``run.output`` receives ``config.yaml``,
TensorBoard's logs, checkpoints, a sample sheet at every validation, ``best.safetensors`` and at the end
``weights.safetensors``, which the nodes and ``hidra enhance --weights`` load. Ctrl-C finishes the iteration, saves and
exits; a checkpoint of another configuration is refused.

Source: HiDRA (CVPR 2026), bi-level optimisation; see ``train/method/solver.py``.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import torch
from accelerate import Accelerator

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from anywhere

from hidra_core.cli.console import reason
from train.method.config import Config, add_options, read_config
from train.method.trainer import Trainer

log = logging.getLogger("train")


def pick_accelerator(config: Config) -> Accelerator:
    """The processes and the device of a run.

    Args:
        config: of the run.

    Raises:
        ValueError: a GPU is asked for and there is none.
    """
    if config.run.device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "run.device is cuda, and PyTorch finds no CUDA GPU here: set run.device=cpu, or install torch with CUDA"
        )
    return Accelerator(cpu=config.run.device == "cpu")


def main(arguments: list[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: of the command line; None: those of the process.

    Returns:
        The exit code: 130 where a signal ended the run early.
    """
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("``--config``")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--no-mia", action="store_true", help="the DEM without mutual interaction attention")
    options = parser.parse_intermixed_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    try:
        overrides = options.overrides + (["model.mia=false"] if options.no_mia else [])
        config = read_config(options.config, overrides)
        trainer = Trainer(config, pick_accelerator(config))
        trainer.run()
    except (ValueError, OSError) as error:
        log.error("error: %s", reason(error))
        return 1
    return 130 if trainer.stop else 0


if __name__ == "__main__":
    sys.exit(main())
