// Shows the heatmap over the open slide and colours its tiles from 0 to 1, so that slides can be compared.
//
// The overlay appears where QuPath shows pixel classifications: press C to hide or show it, use the opacity slider
// to fade it. It goes when another image is opened; run the script again there. Run import_results.groovy first for
// lesions and tiles.

import java.util.function.DoubleToIntFunction
import javafx.application.Platform
import qupath.lib.color.ColorMaps
import qupath.lib.color.ColorModelFactory
import qupath.lib.gui.tools.MeasurementMapper
import qupath.lib.gui.viewer.overlays.BufferedImageOverlay
import qupath.lib.images.servers.ImageServers
import qupath.lib.regions.ImageRegion

def viewer = getCurrentViewer()
def slide = getProjectEntryMetadataValue('slide_id')
def file = new File(buildFilePath(PROJECT_BASE_DIR, 'heatmaps', slide + '.ome.tif'))
if (viewer == null || !file.exists()) {
    println 'No heatmap for ' + getProjectEntry()
    return
}

// Where the heatmap lies on the slide, in pixels of the image as QuPath shows it.
double cellX = getProjectEntryMetadataValue('heatmap_cell_x_px') as double
double cellY = getProjectEntryMetadataValue('heatmap_cell_y_px') as double
int left = getProjectEntryMetadataValue('heatmap_left_px') as int
int top = getProjectEntryMetadataValue('heatmap_top_px') as int

def server = ImageServers.buildServer(file.toURI())
def image = server.readRegion(1.0, 0, 0, server.getWidth(), server.getHeight(), 0, 0)
def region = ImageRegion.createInstance(
    left, top, (int) Math.round(server.getWidth() * cellX), (int) Math.round(server.getHeight() * cellY), 0, 0)

// A probability of 1, which is 255 in a heatmap of bytes.
def type = server.getPixelType()
double one = type.isFloatingPoint() ? 1.0d : 255.0d

def inferno = ColorMaps.getColorMaps().get('Inferno')
def alpha = { double v -> Double.isNaN(v) || v < 0.1 * one ? 0 : (int) (255 * Math.min(1, v / one)) } as DoubleToIntFunction
def overlay = new BufferedImageOverlay(viewer.getOverlayOptions(), region, image)
overlay.setColorModel(ColorModelFactory.createColorModel(type, inferno, 0, 0.0d, one, 0, alpha))

def mapper = new MeasurementMapper(inferno, 'Tumor probability', getDetectionObjects())
mapper.setDisplayMinValue(0)
mapper.setDisplayMaxValue(1)
Platform.runLater {
    viewer.getCustomOverlayLayers().setAll(overlay)
    viewer.getOverlayOptions().setMeasurementMapper(mapper)
    viewer.getOverlayOptions().setFillDetections(true)
}
server.close()
