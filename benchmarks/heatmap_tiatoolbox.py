"""Patches through TIAToolbox's patch predictor: run by benchmarks/heatmap.py, in an environment of its own.

    python heatmap_tiatoolbox.py FOLDER BATCH

FOLDER holds ``patches.npy`` (n, P, P, 3) and ``network.pt``, TorchScript from patches to probabilities; it receives
``probabilities.npy`` and ``answer.json``.
"""

import json
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from tiatoolbox.models.engine.patch_predictor import PatchPredictor
from tiatoolbox.models.models_abc import ModelABC


class Network(ModelABC):
    """The network as TIAToolbox wants it."""

    def __init__(self, path):
        super().__init__()
        self.network = torch.jit.load(path)

    def forward(self, patches):
        """Compute probabilities."""
        return self.network(patches)

    @staticmethod
    def infer_batch(model, batch_data, *, device):
        """Compute the probabilities of both classes."""
        with torch.inference_mode():
            tumour = model(batch_data.to(device)).cpu().numpy()
        return np.stack([1 - tumour, tumour], axis=1)


def main():
    """Measure and write what was measured."""
    folder, batch = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    patches = np.load(folder / "patches.npy")
    predictor = PatchPredictor(model=Network(str(folder / "network.pt")), batch_size=batch, verbose=False)
    options = {
        "patch_mode": True, "output_type": "dict", "return_probabilities": True, "device": "cpu",
        "patch_input_shape": patches.shape[1:3], "input_resolutions": [{"units": "baseline", "resolution": 1.0}],
    }  # fmt: skip
    predictor.run(patches[:batch], **options)
    start = time.perf_counter()
    answer = predictor.run(patches, **options)
    seconds = time.perf_counter() - start
    probabilities = np.asarray(answer["probabilities"])[:, 1]
    np.save(folder / "probabilities.npy", probabilities)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    facts = {
        "patches": len(patches),
        "seconds": seconds,
        "peak_mb": peak_mb,
        "version": version("tiatoolbox"),
    }
    (folder / "answer.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
