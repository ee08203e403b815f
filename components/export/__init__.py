"""ONNX graphs from torch modules, and how their numbers are held: fp32 or int8. Equal weights give equal bytes.

Compress makes its candidates by this code, and evaluate the int8 model that it explains.
"""

from components.export.exporter import export_graph
from components.export.int8 import quantize
from components.export.served import write_int8

__all__ = ["export_graph", "quantize", "write_int8"]
