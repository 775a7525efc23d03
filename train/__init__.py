"""Training of HiDRA: ``python train/run.py --help``."""
