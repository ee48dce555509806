"""Training of YOLOv5, YOLOv8 and YOLOv3-tiny detectors for yolo-lowbit: float, quantization-aware, export and evaluation.

The code is our own; of the originals it takes the published architectures, the form of the losses and the names
of the parameters, so that a user's own checkpoint can be loaded by name.
"""

__version__ = "0.1.0"
