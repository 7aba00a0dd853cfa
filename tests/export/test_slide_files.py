import tifffile

from slidepipe.export.geojson_check import check_geojson
from slidepipe.export.slide_files import ExportSettings, write_slide_files
from slidepipe.lesions.detection import LesionSettings, detect_lesions

CELLS = [[0.1, 0.9], [0.9, 0.9]]


def write(folder, heatmap, **settings):
    lesions = detect_lesions(heatmap, LesionSettings(method="components"))
    return write_slide_files(folder, heatmap, lesions, threshold=0.5, settings=ExportSettings(**settings))


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_everything_of_a_slide_is_written_and_listed(tmp_path, draw_heatmap):
    written = write(tmp_path, draw_heatmap(CELLS), ome_zarr=True)
    assert (written.summary.annotations, written.summary.tiles) == (1, 4)
    listed = sorted(str(path.relative_to(tmp_path)) for path in written.files)
    assert listed == [
        "challenge/drawn.csv",
        "geojson/drawn.geojson.gz",
        "heatmaps/drawn.ome.tif",
        "heatmaps/drawn.ome.zarr/.zattrs",
        "pictures/drawn.ome.tif",
    ]
    assert set(listed) <= set(names(tmp_path))
    assert check_geojson(tmp_path / "geojson" / "drawn.geojson.gz") == ()


def test_what_is_not_wanted_any_more_is_removed(tmp_path, draw_heatmap):
    write(tmp_path, draw_heatmap(CELLS), ome_zarr=True)
    write(tmp_path, draw_heatmap(CELLS), pictures=False, tiles=False, heatmap_pixels="uint8")
    assert names(tmp_path) == ["challenge/drawn.csv", "geojson/drawn.geojson.gz", "heatmaps/drawn.ome.tif"]
    assert tifffile.imread(tmp_path / "heatmaps" / "drawn.ome.tif").tolist() == [[26, 230], [230, 230]]
