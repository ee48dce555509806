"""Training of YOLOv5 detectors for yolo-lowbit: float, quantization-aware, export and evaluation.

The code is our own; of the original YOLOv5 it takes the published architecture, the form of the loss and the names
of the parameters, so that a user's own checkpoint can be loaded by name.
"""

__version__ = "0.1.0"
