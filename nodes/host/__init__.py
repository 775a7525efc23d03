"""Everything that touches the host's services: models, memory, progress, cancelling, files.

``bake`` and ``video`` are imported where they are needed: PyAV and safetensors' writer would slow the host's start.
"""

from .applied import adapting, applied_to_both, apply
from .backbone import HostBackbone
from .files import (
    CAMERAS_FOLDER,
    DEGRADATIONS_FOLDER,
    WEIGHTS_FOLDER,
    choices,
    files,
    fingerprint,
    input_exists,
    input_fingerprint,
    input_names,
    input_path,
    path_of,
    place_samples,
    register_saved_folders,
    register_weights_folder,
)
from .loading import load_checkpoint, native_backbone, weights
from .notes import beyond, noting
from .progress import Progress, stop_at_checkpoints
from .saving import add_png_texts, output_entry, output_name, output_stem, output_stems, workflow_of
from .templates import sort_templates
from .words import in_words_of_nodes

__all__ = [
    "CAMERAS_FOLDER",
    "DEGRADATIONS_FOLDER",
    "WEIGHTS_FOLDER",
    "HostBackbone",
    "Progress",
    "adapting",
    "add_png_texts",
    "applied_to_both",
    "apply",
    "beyond",
    "choices",
    "files",
    "fingerprint",
    "in_words_of_nodes",
    "input_exists",
    "input_fingerprint",
    "input_names",
    "input_path",
    "load_checkpoint",
    "native_backbone",
    "noting",
    "output_entry",
    "output_name",
    "output_stem",
    "output_stems",
    "path_of",
    "place_samples",
    "register_saved_folders",
    "register_weights_folder",
    "sort_templates",
    "stop_at_checkpoints",
    "weights",
    "workflow_of",
]
