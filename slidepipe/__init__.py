"""Whole-slide pathology: slides to tile stores, tumour heatmaps, slide predictions and a lesion FROC.

Importing slidepipe does nothing but name its version. Each room is imported by itself, for example
``from slidepipe.slides.opening import open_slide``.
"""

__version__ = "0.1.0"
