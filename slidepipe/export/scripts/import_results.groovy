// Imports lesions and heatmap tiles into the open image.
//
// For the whole project, choose "Run for project" in QuPath's script editor, or without a window:
//   QuPath script -p project.qpproj -s scripts/import_results.groovy
// Running it again replaces everything that has the measurement 'Tumor probability' and leaves your own objects alone.
// A lesion that you unlock, to correct it, is yours from then on.

import qupath.lib.io.PathIO

def slide = getProjectEntryMetadataValue('slide_id')
def file = new File(buildFilePath(PROJECT_BASE_DIR, 'geojson', slide + '.geojson.gz'))
if (!file.exists()) {
    println 'No results for ' + getProjectEntry()
    return
}
if (getProjectEntryMetadataValue('slidepipe_image') == 'slide')
    setImageType('BRIGHTFIELD_H_E')

def before = getAllObjects(false).findAll { !Double.isNaN(it.getMeasurementList().get('Tumor probability')) }
def corrected = before.findAll { it.isAnnotation() && !it.isLocked() }.collect { it.getID() } as Set
def imported = PathIO.readObjects(file.toPath()).findAll { !corrected.contains(it.getID()) }
removeObjects(before.findAll { !corrected.contains(it.getID()) }, true)
addObjects(imported)
println 'Imported ' + imported.size() + ' objects for ' + slide
