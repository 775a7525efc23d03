"""``python -m hidra_core`` is the command ``hidra``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
