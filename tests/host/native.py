"""Run in the host's interpreter by test_native.py: the host's own networks with a given backbone and weights.

    python native.py HOST_FOLDER PACK_FOLDER BACKBONE WEIGHTS INPUTS OUTPUTS SMALL TAESD

Inputs: ``image`` [B, 3, H, W] in [-1, 1] and ``degradation_vector`` [B, 256]. Outputs: ``latent``,
``denoised_latent``, ``enhanced`` of the batch, the same of each image alone (``….0``, ``….1``), and ``unchanged``,
whether every parameter and every hook is as before. ``decoded`` is ``small_latent`` decoded by TAESD, a file for the
host's VAE loader, in the place of the decoder of SMALL, a backbone file; ``refusal`` is what is said of TAESD for SDXL.
``in_parts`` is ``denoised_latent`` with attention in small parts; ``parts`` says in how many, as usual and then.
"""

import importlib.util
import sys
from pathlib import Path

host_folder, pack_folder, backbone_file, weights_file, inputs_file, outputs_file, small_file, taesd_file = sys.argv[1:]
sys.argv = [sys.argv[0], "--cpu"]  # the host parses the command line of whoever imports it
sys.path.insert(0, host_folder)

import comfy.options  # noqa: E402  from the folder that was put on the path

comfy.options.enable_args_parsing()

import comfy.sd  # noqa: E402  from the folder that was put on the path
import torch  # noqa: E402  from the folder that was put on the path
from safetensors.torch import load_file, save_file  # noqa: E402  from the folder that was put on the path

spec = importlib.util.spec_from_file_location(
    "pack", Path(pack_folder, "__init__.py"), submodule_search_locations=[pack_folder]
)
pack = importlib.util.module_from_spec(spec)
sys.modules["pack"] = pack
spec.loader.exec_module(pack)

from pack.hidra_core.checkpoints import at_checkpoints  # noqa: E402  from the folder that was put on the path
from pack.hidra_core.enhance import DegradationVectors  # noqa: E402  from the folder that was put on the path
from pack.hidra_core.weights import load_weights  # noqa: E402  from the folder that was put on the path
from pack.nodes import host  # noqa: E402  from the folder that was put on the path
from pack.nodes.host import attention  # noqa: E402  from the folder that was put on the path


def snapshot(model, vae):
    modules = [*model.model.diffusion_model.modules(), *vae.first_stage_model.modules()]
    parameters = [p.detach().clone() for m in modules for p in m.parameters(recurse=False)]
    return parameters, [len(m._forward_hooks) for m in modules]


@torch.inference_mode()
def main() -> None:
    inputs = load_file(inputs_file)
    weights = load_weights(weights_file)
    model, vae = host.native_backbone(Path(backbone_file))
    before = snapshot(model, vae)

    def run(images, vectors):
        adapted = host.HostBackbone(*host.apply(model, vae, DegradationVectors(vectors, weights), 1.0))
        latent = adapted.encode(images)
        denoised = adapted.denoise(latent, weights.text_embedding)
        return {"latent": latent, "denoised_latent": denoised, "enhanced": adapted.decode(denoised)}

    images, vectors = inputs["image"], inputs["degradation_vector"]
    outputs = run(images, vectors)
    for i in range(len(images)):
        alone = run(images[i : i + 1], vectors[i : i + 1])
        outputs |= {f"{key}.{i}": value for key, value in alone.items()}
    asked = []
    at_checkpoints(lambda: asked.append(len(asked)))
    run(images, vectors)
    usual, attention.PAIRS = len(asked), 8
    outputs["in_parts"] = run(images, vectors)["denoised_latent"]
    outputs["parts"] = torch.tensor([usual, len(asked) - usual])
    taesd = comfy.sd.VAE(sd=load_file(taesd_file))
    small = host.HostBackbone(*host.native_backbone(Path(small_file)), [[torch.zeros(1, 77, 16), {}]], taesd)
    outputs["decoded"] = small.decode(inputs["small_latent"])
    try:
        taesd.first_stage_model.vae_scale.fill_(0.13025)
        host.HostBackbone(model, vae, decoder=taesd)
    except ValueError as error:
        outputs["refusal"] = torch.tensor(list(str(error).encode()), dtype=torch.uint8)
    after = snapshot(model, vae)
    same = all(torch.equal(a, b) for a, b in zip(before[0], after[0], strict=True)) and before[1] == after[1]
    outputs["unchanged"] = torch.tensor(same)
    outputs["imported"] = torch.tensor([name in sys.modules for name in ("diffusers", "pyiqa")])
    save_file({key: value.contiguous() for key, value in outputs.items()}, outputs_file)


main()
