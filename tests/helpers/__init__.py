"""What several tests share: paths, reference numbers and networks, files as cameras write them, small clips."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The repository."""

SHARED = ROOT.parent / "shared"
"""Data beside the repository that is not part of it; tests that need it are skipped where it is absent."""
