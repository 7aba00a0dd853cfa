from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile

from slidepipe.errors import ExportError
from slidepipe.export.ome_tiff import write_colour_ome_tiff, write_ome_tiff

OME = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"


@pytest.fixture
def cells():
    probability = np.random.default_rng(0).random((610, 437), dtype=np.float32)
    probability[:50] = np.nan
    return probability


def test_pixels_come_back_to_the_last_bit_and_nan_stays_nan(tmp_path, draw_heatmap, cells):
    write_ome_tiff(tmp_path / "a.ome.tif", draw_heatmap(cells))
    read = tifffile.imread(tmp_path / "a.ome.tif")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, cells)


def test_the_pyramid_halves_in_subifds_and_keeps_the_largest(tmp_path, draw_heatmap, cells):
    write_ome_tiff(tmp_path / "a.ome.tif", draw_heatmap(cells))
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert file.is_ome
        (series,) = file.series
        assert [level.shape for level in series.levels] == [(610, 437), (305, 219), (153, 110)]
        assert len(file.pages) == 1
        assert series.levels[1].asarray()[100, 100] == cells[200:202, 200:202].max()
        assert np.isnan(series.levels[2].asarray()[0, 0])


def test_size_and_channel_are_in_the_xml(tmp_path, draw_heatmap, cells):
    write_ome_tiff(tmp_path / "a.ome.tif", draw_heatmap(cells, cell_px0=(224.0, 112.0)))
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        pixels = ElementTree.fromstring(file.ome_metadata).find(f"{OME}Image/{OME}Pixels")
    assert (pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeY")) == ("112.0", "56.0")
    assert (pixels.get("PhysicalSizeXUnit"), pixels.get("PhysicalSizeYUnit")) == ("µm", "µm")
    assert pixels.get("Type") == "float"
    assert pixels.find(f"{OME}Channel").get("Name") == "Tumor probability"


def test_no_predictor_and_no_date_are_written(tmp_path, draw_heatmap, cells):
    write_ome_tiff(tmp_path / "a.ome.tif", draw_heatmap(cells))
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        page = file.pages[0]
        assert page.predictor == 1
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert page.is_tiled
        assert not {"DateTime", "Software", "HostComputer"} & {tag.name for tag in page.tags}
        assert "AcquisitionDate" not in file.ome_metadata


def test_equal_heatmaps_give_equal_bytes_whatever_the_name(tmp_path, draw_heatmap, cells):
    write_ome_tiff(tmp_path / "a.ome.tif", draw_heatmap(cells))
    write_ome_tiff(tmp_path / "b.ome.tiff", draw_heatmap(cells))
    assert (tmp_path / "a.ome.tif").read_bytes() == (tmp_path / "b.ome.tiff").read_bytes()


def test_a_small_heatmap_has_one_level(tmp_path, draw_heatmap):
    write_ome_tiff(tmp_path / "a.ome.tif", draw_heatmap([[0.5]]))
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert len(file.series[0].levels) == 1


def test_names_and_heatmaps_that_qupath_cannot_use_are_refused(tmp_path, draw_heatmap):
    with pytest.raises(ExportError, match=r"\.ome\.tif"):
        write_ome_tiff(tmp_path / "a.tif", draw_heatmap([[0.5]]))
    with pytest.raises(ExportError, match="no cell"):
        write_ome_tiff(tmp_path / "a.ome.tif", draw_heatmap(np.empty((0, 4))))
    assert list(tmp_path.iterdir()) == []


def test_bytes_are_probabilities_of_255(tmp_path, draw_heatmap, cells):
    write_ome_tiff(tmp_path / "a.ome.tif", draw_heatmap(cells), "uint8")
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert file.is_ome
        assert 'Type="uint8"' in file.ome_metadata
        levels = [level.asarray() for level in file.series[0].levels]
    assert [level.dtype for level in levels] == [np.uint8] * 3
    assert not levels[0][:50].any()
    assert np.abs(levels[0][50:] / 255 - cells[50:]).max() <= 0.5 / 255 + 1e-6


def test_colours_have_a_fixed_range_and_nothing_looked_at_is_white(tmp_path, draw_heatmap):
    nan = np.nan
    write_colour_ome_tiff(tmp_path / "a.ome.tif", draw_heatmap([[0.0, 1.0, nan], [0.2, 0.2, 0.2]]))
    write_colour_ome_tiff(tmp_path / "b.ome.tif", draw_heatmap([[0.2, 0.1]]))
    read = tifffile.imread(tmp_path / "a.ome.tif")
    assert (read.shape, read.dtype) == ((2, 3, 3), np.uint8)
    assert read[0].tolist() == [[0, 0, 3], [252, 254, 164], [255, 255, 255]]
    assert (tifffile.imread(tmp_path / "b.ome.tif")[0, 0] == read[1, 0]).all()


def test_the_coloured_pyramid_has_levels_and_a_physical_size(tmp_path, draw_heatmap, cells):
    write_colour_ome_tiff(tmp_path / "a.ome.tif", draw_heatmap(cells))
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert [level.shape for level in file.series[0].levels] == [
            (610, 437, 3),
            (305, 219, 3),
            (153, 110, 3),
        ]
        assert 'PhysicalSizeX="50.0"' in file.ome_metadata
        assert file.pages[0].photometric == tifffile.PHOTOMETRIC.RGB
