"""Results in DICOM, read back by the libraries that viewers and archives are built with."""

from datetime import datetime

import numpy as np
import pytest

from slidepipe.errors import ExportError
from slidepipe.geometry import PixelSize
from slidepipe.heatmaps.heatmap import Heatmap
from slidepipe.lesions.detection import LesionSettings, detect_lesions

pydicom = pytest.importorskip("pydicom", reason="pydicom is missing: pip install 'slidepipe[dicom]'")
hd = pytest.importorskip("highdicom", reason="highdicom is missing: pip install 'slidepipe[dicom]'")
dicom = pytest.importorskip("slidepipe.export.dicom")

CELLS = np.array(
    [[0.1, 0.9, 0.9, 0.1], [0.1, 0.9, 0.1, 0.1], [np.nan, 0.1, 0.2, 0.3], [np.nan, 0.1, 0.1, 0.8]],
    dtype=np.float32,
)
PX_MM = 0.000499


@pytest.fixture
def series(shared_data, tmp_path):
    """Return a folder with a slide of 16 × 16 px, whose x runs along -y and whose y along -x of the glass."""
    folder = tmp_path / "series"
    folder.mkdir()
    for number in (0, 1):
        name = f"boxes_{number}.dcm"
        (folder / name).write_bytes((shared_data / "slides" / name).read_bytes())
    (folder / "notes.txt").write_text("not DICOM")
    return folder


def result_of(cells=CELLS, size_px0=(16, 16), probability=0.75):
    heatmap = Heatmap("boxes", cells, (4.0, 4.0), PixelSize(0.499, 0.499), size_px0)
    lesions = detect_lesions(heatmap, LesionSettings(method="components"))
    when = datetime(2026, 1, 2, 3, 4, 5)
    return dicom.SlideResult(
        heatmap=heatmap, lesions=lesions, threshold=0.5, probability=probability, when=when
    )


@pytest.fixture
def written(series, tmp_path):
    """Return the three datasets by name, as pydicom reads them."""
    paths = dicom.write_dicom(tmp_path / "out", series, result_of())
    return {path.name: pydicom.dcmread(path) for path in paths}


def test_all_belong_to_the_study_and_the_place_of_the_slide(written, series):
    source = pydicom.dcmread(series / "boxes_0.dcm", stop_before_pixels=True)
    assert sorted(written) == ["annotations.dcm", "heatmap.dcm", "report.dcm"]
    assert [written[name].SOPClassUID.name for name in sorted(written)] == [
        "Microscopy Bulk Simple Annotations Storage",
        "Parametric Map Storage",
        "Comprehensive 3D SR Storage",
    ]
    for dataset in written.values():
        assert dataset.StudyInstanceUID == source.StudyInstanceUID
    assert written["heatmap.dcm"].FrameOfReferenceUID == source.FrameOfReferenceUID
    assert (
        written["annotations.dcm"].ReferencedImageSequence[0].ReferencedSOPInstanceUID
        == source.SOPInstanceUID
    )
    series_uids = {dataset.SeriesInstanceUID for dataset in written.values()}
    assert len(series_uids | {source.SeriesInstanceUID}) == 4


def test_everything_is_marked_as_research_and_nothing_as_verified(written):
    assert [dataset.ContentQualification for dataset in written.values()] == ["RESEARCH"] * 3
    assert written["report.dcm"].VerificationFlag == "UNVERIFIED"
    assert written["report.dcm"].PreliminaryFlag == "PRELIMINARY"


def test_annotations_come_back_as_polygons_with_probabilities(written, tmp_path):
    annotations = hd.ann.annread(tmp_path / "out" / "annotations.dcm")
    lesions, tiles = annotations.get_annotation_groups()
    assert (lesions.label, tiles.label) == ("Lesions", "Tissue tiles")
    polygons = lesions.get_graphic_data(coordinate_type="2D")
    assert [tuple(np.ptp(polygon, axis=0)) for polygon in polygons] == [(8, 8), (4, 4)]
    np.testing.assert_array_equal(polygons[1], [[12, 12], [16, 12], [16, 16], [12, 16]])
    names, values, units = lesions.get_measurements()
    assert [name.meaning for name in names] == ["Probability of cancer", "Area"]
    assert [unit.value for unit in units] == ["1", "mm2"]
    np.testing.assert_allclose(values, [[0.9, 48 * PX_MM**2], [0.8, 16 * PX_MM**2]], rtol=1e-6)
    _, values, _ = tiles.get_measurements()
    np.testing.assert_array_equal(values[:, 0], CELLS[np.isfinite(CELLS)])
    assert lesions.algorithm_identification.name == "slidepipe"


def test_wsidicom_reads_the_annotations(written, tmp_path):
    graphical = pytest.importorskip(
        "wsidicom.graphical_annotations", reason="wsidicom is missing: pip install 'slidepipe[dicom]'"
    )
    (instance,) = graphical.AnnotationInstance.open([tmp_path / "out" / "annotations.dcm"])
    lesions, tiles = instance.groups
    assert (len(lesions.annotations), len(tiles.annotations)) == (2, 14)
    first = tiles.annotations[0].geometry
    assert [(point.x, point.y) for point in first.points[:3]] == [(0, 0), (4, 0), (4, 4)]


def test_the_heatmap_comes_back_with_its_place_on_the_glass(written, tmp_path):
    heatmap = hd.imread(tmp_path / "out" / "heatmap.dcm")
    expected = np.where(np.isfinite(CELLS), CELLS, np.float32(-1))
    np.testing.assert_array_equal(heatmap.get_total_pixel_matrix().astype(np.float32), expected)
    dataset = written["heatmap.dcm"]
    assert dataset.FloatPixelPaddingValue == -1
    spacing = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    assert [float(value) for value in spacing] == pytest.approx([4 * PX_MM] * 2)
    origin = dataset.TotalPixelMatrixOriginSequence[0]
    # The centre of the first cell lies one and a half pixels from the centre of the first pixel, which is at (0, 0).
    place = [float(origin.XOffsetInSlideCoordinateSystem), float(origin.YOffsetInSlideCoordinateSystem)]
    assert place == pytest.approx([-1.5 * PX_MM] * 2)
    assert list(dataset.ImageOrientationSlide) == [0, -1, 0, -1, 0, 0]


def test_the_report_tells_the_slide_and_its_lesions(written, tmp_path):
    frame = written["heatmap.dcm"].FrameOfReferenceUID
    content = hd.sr.srread(tmp_path / "out" / "report.dcm").content
    (slide,) = content.get_image_measurement_groups()
    (measurement,) = slide.get_measurements()
    assert (measurement.name.meaning, measurement.value) == ("Probability of cancer", 0.75)
    first, second = content.get_planar_roi_measurement_groups()
    found = {item.name.meaning: (item.value, item.unit.value) for item in second.get_measurements()}
    assert found["Probability of cancer"] == (pytest.approx(0.8), "1")
    assert found["Area"] == (pytest.approx(16 * PX_MM**2, rel=1e-5), "mm2")
    assert found["Diameter"] == (pytest.approx(4 * 2**0.5 * PX_MM, rel=1e-5), "mm")
    assert first.tracking_uid != second.tracking_uid
    assert second.roi.frame_of_reference_uid == frame
    corners = second.roi.value
    assert corners[:, 0].min() == pytest.approx(-15.5 * PX_MM)
    assert corners[:, 1].max() == pytest.approx(-11.5 * PX_MM)
    assert not corners[:, 2].any()


def test_equal_results_give_equal_bytes_and_other_results_other_uids(series, tmp_path):
    for name in ("a", "b"):
        dicom.write_dicom(tmp_path / name, series, result_of())
    dicom.write_dicom(tmp_path / "c", series, result_of(CELLS * np.float32(0.99), probability=0.5))
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
        other = pydicom.dcmread(tmp_path / "c" / path.name)
        assert pydicom.dcmread(path).SOPInstanceUID != other.SOPInstanceUID
        assert pydicom.dcmread(path).SeriesInstanceUID == other.SeriesInstanceUID


def test_objects_that_would_be_empty_are_not_written_and_older_ones_removed(written, series, tmp_path):
    cells = np.full((4, 4), np.nan, dtype=np.float32)
    paths = dicom.write_dicom(tmp_path / "out", series, result_of(cells, probability=None))
    assert [path.name for path in paths] == ["heatmap.dcm"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["heatmap.dcm"]


def test_another_slide_and_a_folder_without_slides_are_refused(series, tmp_path):
    with pytest.raises(ExportError, match=r"slide boxes has 20 x 16 px, but .* has 16 x 16 px"):
        dicom.write_dicom(tmp_path / "out", series, result_of(size_px0=(20, 16)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExportError, match="no whole-slide image"):
        dicom.write_dicom(tmp_path / "out", tmp_path / "empty", result_of())
    assert not (tmp_path / "out").exists()
