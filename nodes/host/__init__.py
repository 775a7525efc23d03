"""Everything that touches the host's services: models, memory, progress, cancelling, files.

The adapter rides on the host's own MODEL and VAE: a wrapper around the UNet call and a shallow copy of the VAE attach
the hooks for the length of one call. Nothing in the loaded networks is changed. ``bake`` and ``video`` are imported
where they are needed: PyAV and safetensors' writer take their time when the host starts.
"""

from .applied import (
    Applied,
    applied_to_both,
    applied_to_model,
    applied_to_vae,
    apply,
    text_embedding,
    unet_lookup,
    vae_lookup,
)
from .backbone import HostBackbone
from .files import (
    DEGRADATIONS_FOLDER,
    WEIGHTS_FOLDER,
    choices,
    files,
    fingerprint,
    next_output,
    path_of,
    register_degradations_folder,
    register_weights_folder,
    temporary_file,
)
from .loading import (
    LoadedWeights,
    load_checkpoint,
    load_hidra_tiny,
    native_backbone,
    native_unet_config,
    native_vae,
    weights,
)
from .progress import Progress, show_text

__all__ = [
    "Applied",
    "DEGRADATIONS_FOLDER",
    "HostBackbone",
    "LoadedWeights",
    "Progress",
    "WEIGHTS_FOLDER",
    "applied_to_both",
    "applied_to_model",
    "applied_to_vae",
    "apply",
    "choices",
    "files",
    "fingerprint",
    "load_checkpoint",
    "load_hidra_tiny",
    "native_backbone",
    "native_unet_config",
    "native_vae",
    "next_output",
    "path_of",
    "register_degradations_folder",
    "register_weights_folder",
    "show_text",
    "temporary_file",
    "text_embedding",
    "unet_lookup",
    "vae_lookup",
    "weights",
]
