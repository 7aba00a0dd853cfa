"""Every error slidepipe raises on purpose.

* SlidepipeError
  x ConfigError            a setting is missing, unknown or impossible
  x SlideError             a slide file cannot be used
    - SlideFormatError     not a slide, or a vendor variant that is not read
    - PixelSizeError       pixel size missing, impossible, or too coarse for the request
    - RegionReadError      one region is damaged; the rest of the slide may be fine
    - SlideChangedError    the file is not the one that was used before
    - DamagedSlideError    more tiles are damaged than the budget allows
    - TissueError          no tissue mask can be made, or a given one does not fit
  x AnnotationError        an annotation file cannot be used
  x CohortError            a folder, table or list of slides does not make a cohort
  x ObjectStoreError       an object store cannot be reached, or refuses
  x StoreError             a Zarr store is not what the caller expected
    - StoreVersionError    written by another format version
    - StoreConflictError   same path, other slide or settings
    - StoreIncompleteError blocks are missing
  x PatchFileError         a folder or zip file of patches cannot be used
  x ModelError             a model cannot be trained, loaded or applied
  x EvaluationError        predictions and reference do not belong together
  x ExportError            a result cannot be written in the format asked for
  x RunError               a run directory cannot be used
  x TaskError              a task did not come to its end
    - TaskTimeoutError     it took longer than it may
    - WorkerDiedError      the process it ran in died, twice

Messages say which slide, what is wrong with numbers, and what to do.
"""


class SlidepipeError(Exception):
    """Root of every error slidepipe raises on purpose."""


class ConfigError(SlidepipeError, ValueError):
    """A setting is missing, unknown or impossible."""


class SlideError(SlidepipeError):
    """A slide file cannot be used."""


class SlideFormatError(SlideError, ValueError):
    """The file is not a slide, or a vendor variant that is not read."""


class PixelSizeError(SlideError, ValueError):
    """The pixel size is missing, impossible, or too coarse for the request."""


class RegionReadError(SlideError, OSError):
    """One region is damaged; the rest of the slide may be fine."""


class SlideChangedError(SlideError):
    """The slide file is not the one that was used before."""


class DamagedSlideError(SlideError):
    """More tiles of the slide are damaged than the budget allows."""


class TissueError(SlideError, ValueError):
    """No tissue mask can be made of the slide, or a given one does not fit it."""


class AnnotationError(SlidepipeError, ValueError):
    """An annotation file cannot be used."""


class CohortError(SlidepipeError, ValueError):
    """A folder, table or list of slides does not make a cohort."""


class ObjectStoreError(SlidepipeError):
    """An object store such as S3 cannot be reached, or refuses. No OSError: nobody shall take it for "not there"."""


class StoreError(SlidepipeError):
    """A Zarr store is not what the caller expected."""


class StoreVersionError(StoreError, ValueError):
    """The store was written by another format version."""


class StoreConflictError(StoreError, ValueError):
    """The store was made for another slide, or with other settings."""


class StoreIncompleteError(StoreError):
    """Blocks of the store are missing."""


class PatchFileError(SlidepipeError):
    """A folder or zip file of patches, or one of them, cannot be used."""


class ModelError(SlidepipeError, ValueError):
    """A model cannot be trained, loaded or applied."""


class EvaluationError(SlidepipeError, ValueError):
    """Predictions and reference do not belong together."""


class ExportError(SlidepipeError, ValueError):
    """A result cannot be written in the format asked for."""


class RunError(SlidepipeError):
    """A run directory cannot be used."""


class TaskError(SlidepipeError):
    """A task did not come to its end."""


class TaskTimeoutError(TaskError, TimeoutError):
    """The task took longer than it may."""


class WorkerDiedError(TaskError):
    """The process that the task ran in died, twice."""
