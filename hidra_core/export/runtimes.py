"""The programs that run a graph: each loads it whole, and cut at the degradation vector when that is asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import override

from ..dem import DEGRADATION_WIDTH

if TYPE_CHECKING:
    from pathlib import Path

_ONNX_DEVICES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_OPENVINO_DEVICES = {"auto": "CPU", "cpu": "CPU", "xpu": "GPU"}


class Runtime(ABC):
    """A graph in the memory of a program that runs it.

    Args:
        path: the file.
        device: see :func:`~hidra_core.export.engine.open_engine`.
    """

    @abstractmethod
    def __init__(self, path: Path, device: str) -> None: ...

    @abstractmethod
    def metadata(self) -> dict[str, str]:
        """The metadata of the file."""

    @abstractmethod
    def run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """All outputs of the graph."""

    @abstractmethod
    def judge(self, given: np.ndarray) -> np.ndarray:
        """The vectors ``[B, 256]`` of images ``[B, 1, H, W]``; nothing else is computed."""

    @abstractmethod
    def enhance(self, images: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Images ``[B, 1, H, W]`` enhanced under vectors ``[B, 256]``."""


class OnnxRuntime(Runtime):
    """ONNX Runtime."""

    def __init__(self, path: Path, device: str) -> None:
        _require("onnxruntime", "onnx")
        import onnxruntime

        available = onnxruntime.get_available_providers()
        wanted = ["cuda", "cpu"] if device == "auto" else [device.partition(":")[0]]
        self._providers = [_ONNX_DEVICES[name] for name in wanted if _ONNX_DEVICES.get(name) in available]
        if not self._providers:
            raise ValueError(
                f"ONNX Runtime here does not compute on '{device}', it has {', '.join(available)}. Choose cpu"
            )
        self._path = path
        self._session = self._load(str(path))

    def _load(self, model: str | bytes) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # numbers beside a graph of more than 2 GB are found there when only a part of the graph is loaded
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(self._path.absolute().parent)
        )
        try:
            return onnxruntime.InferenceSession(model, options, providers=self._providers)
        except Exception as error:  # of types of its own, which share no base
            raise ValueError(f"{self._path} is not a graph that ONNX Runtime can load: {error}") from error

    @override
    def metadata(self) -> dict[str, str]:
        return dict(self._session.get_modelmeta().custom_metadata_map)

    @override
    def run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        return self._session.run(None, feeds)

    @override
    def judge(self, given: np.ndarray) -> np.ndarray:
        return self._judge.run(None, {"image": given})[0]

    @override
    def enhance(self, images: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        return self._enhance.run(None, {"image": images, "vector": vectors})[0]

    @cached_property
    def _judge(self) -> Any:
        return self._load(self._part(["image"], "vector"))

    @cached_property
    def _enhance(self) -> Any:
        return self._load(self._part(["image", "vector"], "enhanced"))

    def _part(self, inputs: list[str], output: str) -> bytes:
        """The nodes that lead from these values to that one, as a graph of their own."""
        import onnx

        model = onnx.load(str(self._path), load_external_data=False)
        maker = {name: node for node in model.graph.node for name in node.output}
        needed, waiting, used = set(), [output], set()
        while waiting:
            name = waiting.pop()
            if name in used or name in inputs:
                continue
            used.add(name)
            node = maker.get(name)
            if node is not None:
                needed.add(node.output[0])
                waiting.extend(source for source in node.input if source)
        values = {value.name: value for value in (*model.graph.input, *model.graph.output)}
        part = onnx.helper.make_graph(
            [node for node in model.graph.node if node.output[0] in needed],
            "part",
            [values[name] for name in inputs],
            [values[output]],
            [tensor for tensor in model.graph.initializer if tensor.name in used],
        )
        whole = onnx.helper.make_model(part, opset_imports=model.opset_import, functions=model.functions)
        whole.ir_version = model.ir_version
        return whole.SerializeToString()


class OpenVino(Runtime):
    """OpenVINO, which computes in fp32: in bf16, its own choice on some processors, results would be others."""

    def __init__(self, path: Path, device: str) -> None:
        _require("openvino")
        import openvino

        self._core = openvino.Core()
        self._device = _OPENVINO_DEVICES.get(device, device)
        available = self._core.available_devices
        if self._device not in available:
            raise ValueError(f"OpenVINO here does not compute on '{device}', it has {', '.join(available)}. Choose cpu")
        self._path = path
        self._model = self._read()
        self._compiled = self._compile(self._model)

    def _read(self) -> Any:
        try:
            return self._core.read_model(str(self._path))
        except RuntimeError as error:
            raise ValueError(f"{self._path} is not a graph that OpenVINO can load: {error}") from error

    def _compile(self, model: Any) -> Any:
        return self._core.compile_model(model, self._device, {"INFERENCE_PRECISION_HINT": "f32"})

    @override
    def metadata(self) -> dict[str, str]:
        stored = self._model.get_rt_info()
        texts = stored["framework"] if "framework" in stored else {}  # noqa: SIM401  no dict, it has no get
        return {key: value if isinstance(value, str) else value.value for key, value in texts.items()}

    @override
    def run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        return list(self._compiled(feeds).to_tuple())

    @override
    def judge(self, given: np.ndarray) -> np.ndarray:
        return self._judge([given])[0]

    @override
    def enhance(self, images: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        return self._enhance([images, vectors])[0]

    @cached_property
    def _judge(self) -> Any:
        import openvino

        model = self._read()
        results, inputs = [_result(model, "vector")], model.get_parameters()
        return self._compile(openvino.Model(results, inputs, "judge"))  # pyright: ignore[reportGeneralTypeIssues]

    @cached_property
    def _enhance(self) -> Any:
        import openvino
        from openvino import opset13

        model = self._read()
        result = _result(model, "vector")
        vector = opset13.parameter([-1, DEGRADATION_WIDTH], np.float32, name="vector_given")
        for target in result.input_value(0).get_target_inputs():
            if target.get_node().get_name() != result.get_name():
                target.replace_source_output(vector.output(0))
        results, inputs = [_result(model, "enhanced")], [*model.get_parameters(), vector]
        return self._compile(openvino.Model(results, inputs, "enhance"))  # pyright: ignore[reportGeneralTypeIssues]


def _result(model: Any, name: str) -> Any:
    """The node of an output of an OpenVINO model."""
    return next(result for result in model.results if name in result.input_value(0).names | result.output(0).names)


def _require(*modules: str) -> None:
    for module in modules:
        if find_spec(module) is None:
            extra = "openvino" if module == "openvino" else "onnx"
            raise ImportError(f'the engine needs {module}: pip install "hidra-thermal[{extra}]"')


RUNTIMES: dict[str, type[Runtime]] = {"onnx": OnnxRuntime, "openvino": OpenVino}
