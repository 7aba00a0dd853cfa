import json

import numpy as np
import pytest
import zarr

from slidepipe.storage.zarr_v2 import write_v2_array, write_v2_group


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_zarr_reads_the_values_back(tmp_path, dtype):
    values = (np.arange(7 * 5 * 3) * 2).reshape(7, 5, 3).astype(dtype)
    write_v2_group(tmp_path, {"a": 1})
    write_v2_array(tmp_path / "0", values, (4, 4, 3))
    group = zarr.open_group(tmp_path, mode="r", zarr_format=2)
    assert dict(group.attrs) == {"a": 1}
    assert group["0"].dtype == dtype
    np.testing.assert_array_equal(group["0"][...], values)


def test_every_chunk_is_written_in_full_and_packed_as_java_reads_it(tmp_path):
    write_v2_array(tmp_path, np.full((5, 3), np.nan, dtype=np.float32), (4, 2))
    metadata = json.loads((tmp_path / ".zarray").read_text())
    assert metadata["compressor"]["id"] == "blosc"
    assert metadata["dtype"] == "<f4"
    chunks = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*"))
    assert chunks == ["0/0", "0/1", "1/0", "1/1"]


def test_what_no_viewer_needs_is_refused(tmp_path):
    for values, chunk in (
        (np.zeros((2, 2)), (2, 2)),
        (np.zeros((0, 2), np.uint8), (2, 2)),
        (np.zeros(3, np.uint8), (2, 2)),
    ):
        with pytest.raises(ValueError, match="expected float32 or uint8"):
            write_v2_array(tmp_path, values, chunk)
