"""Compare weights with classical methods, as ``hidra evaluate`` does.

    python train/evaluate.py FOLDER --output results --weights runs/mine/weights.safetensors

``python train/evaluate.py --help`` lists tasks, metrics and baselines; docs/use/evaluation.md explains them.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from anywhere

from hidra_core.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
