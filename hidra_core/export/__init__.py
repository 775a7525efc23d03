"""The method as a graph in ONNX, for programs that run networks without PyTorch; and such graphs run here."""

from .engine import Engine, open_engine
from .writing import Exported, export_onnx

__all__ = ["Engine", "Exported", "export_onnx", "open_engine"]
