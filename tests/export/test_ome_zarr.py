from xml.etree import ElementTree

import numpy as np
import pytest

from slidepipe.errors import ExportError
from slidepipe.export.ome_zarr import write_ome_zarr

OME = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"


@pytest.fixture
def heatmap(draw_heatmap):
    probability = np.random.default_rng(0).random((610, 437), dtype=np.float32)
    probability[:50] = np.nan
    return draw_heatmap(probability, cell_px0=(224.0, 112.0))


@pytest.fixture
def zarr_path(tmp_path, heatmap):
    path = tmp_path / "a.ome.zarr"
    write_ome_zarr(path, heatmap)
    return path


def test_pixels_come_back_to_the_last_bit_and_nan_stays_nan(zarr_path, heatmap):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(zarr_path, mode="r", zarr_format=2)
    assert [group[str(level)].shape for level in range(3)] == [(610, 437), (305, 219), (153, 110)]
    np.testing.assert_array_equal(group["0"][...], heatmap.probability)
    assert group["1"][100, 100] == heatmap.probability[200:202, 200:202].max()
    assert np.isnan(group["2"][0, 0])


def test_ome_zarr_py_reads_the_levels_and_the_size_of_a_cell(zarr_path, heatmap):
    reader = pytest.importorskip("ome_zarr.reader")
    location = pytest.importorskip("ome_zarr.io").parse_url(zarr_path)
    (node, *_) = list(reader.Reader(location)())
    assert [level.shape for level in node.data] == [(610, 437), (305, 219), (153, 110)]
    first, second, _ = node.metadata["coordinateTransformations"]
    assert first[0] == {"type": "scale", "scale": [56.0, 112.0]}
    assert second[0]["scale"] == [112.0, 224.0]
    np.testing.assert_array_equal(np.asarray(node.data[0]), heatmap.probability)


def test_the_metadata_is_valid_ome_ngff_0_4(zarr_path):
    zarr = pytest.importorskip("zarr")
    models = pytest.importorskip("ome_zarr_models.v04")
    image = models.Image.from_zarr(zarr.open_group(zarr_path, mode="r", zarr_format=2))
    assert image.attributes.multiscales[0].version == "0.4"
    assert image.attributes.omero.channels[0].label == "Tumor probability"


def test_the_levels_lie_on_one_another_by_their_corners(zarr_path, heatmap):
    zarr = pytest.importorskip("zarr")
    datasets = zarr.open_group(zarr_path, mode="r", zarr_format=2).attrs["multiscales"][0]["datasets"]
    for dataset in datasets:
        (scale, translation) = dataset["coordinateTransformations"]
        corner = np.array(translation["translation"]) - np.array(scale["scale"]) / 2
        np.testing.assert_allclose(corner, [-heatmap.pixel_size0.y_um / 2, -heatmap.pixel_size0.x_um / 2])


def test_qupath_finds_size_and_channel_in_the_xml(zarr_path):
    root = ElementTree.fromstring((zarr_path / "OME" / "METADATA.ome.xml").read_bytes())
    (pixels,) = root.findall(f"{OME}Image/{OME}Pixels")
    assert (pixels.get("SizeX"), pixels.get("SizeY")) == ("437", "610")
    assert (pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeY")) == ("112.0", "56.0")
    assert pixels.find(f"{OME}Channel").get("Name") == "Tumor probability"


def test_writing_again_gives_equal_bytes_and_leaves_nothing_of_the_old_one(zarr_path, draw_heatmap, heatmap):
    def content():
        return {
            path.relative_to(zarr_path): path.read_bytes() for path in zarr_path.rglob("*") if path.is_file()
        }

    before = content()
    write_ome_zarr(zarr_path, draw_heatmap([[0.5]]))
    assert not (zarr_path / "1").exists()
    write_ome_zarr(zarr_path, heatmap)
    assert content() == before
    assert [path.name for path in zarr_path.parent.iterdir()] == ["a.ome.zarr"]


def test_names_and_heatmaps_that_viewers_cannot_use_are_refused(tmp_path, draw_heatmap):
    with pytest.raises(ExportError, match=r"\.ome\.zarr"):
        write_ome_zarr(tmp_path / "a.zarr", draw_heatmap([[0.5]]))
    with pytest.raises(ExportError, match="no cell"):
        write_ome_zarr(tmp_path / "a.ome.zarr", draw_heatmap(np.empty((0, 4))))
    assert list(tmp_path.iterdir()) == []
