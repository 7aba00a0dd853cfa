import json

import numpy as np
import pytest

from slidepipe.export.challenge import write_challenge_csv
from slidepipe.geometry import PixelSize
from slidepipe.heatmaps.heatmap import Heatmap
from slidepipe.lesions.detection import LesionSettings, detect_lesions
from slidepipe.lesions.lesion import Lesion


def test_lesions_are_written_without_a_header_and_with_five_decimals(tmp_path):
    lesions = [Lesion("a", 1, 1.0, 2656, 736, 1.0, 1.0), Lesion("a", 2, 0.799504, 4448, 1888, 1.0, 1.0)]
    write_challenge_csv(tmp_path / "a.csv", lesions)
    assert (tmp_path / "a.csv").read_bytes() == b"1.00000,2656,736\n0.79950,4448,1888\n"


def test_a_slide_without_a_detection_has_an_empty_file(tmp_path):
    write_challenge_csv(tmp_path / "a.csv", [])
    assert (tmp_path / "a.csv").read_bytes() == b""


@pytest.mark.parametrize("case", ["blobs", "border", "plateau", "radius6_level7", "empty"])
def test_heatmap_to_file_gives_the_bytes_that_ncrf_wrote(shared_data, tmp_path, case):
    folder = shared_data / "froc" / "nms"
    parameters = json.loads((folder / "index.json").read_text())[case]["params"]
    probability = np.ascontiguousarray(np.load(folder / f"{case}.npy").T)
    step = 2 ** parameters["level"]
    size = (probability.shape[1] * step, probability.shape[0] * step)
    heatmap = Heatmap(case, probability, (float(step), float(step)), PixelSize(0.243, 0.243), size)
    settings = LesionSettings(
        threshold=parameters["prob_threshold"], radius_um=parameters["radius"] * step * 0.243
    )
    write_challenge_csv(tmp_path / "a.csv", detect_lesions(heatmap, settings))
    assert (tmp_path / "a.csv").read_bytes() == (folder / f"{case}.csv").read_bytes()
