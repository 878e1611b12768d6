"""The one tree of errors that a user can cause; commands print them on one line and exit 2."""


def reason_of(error: Exception) -> str:
    """What an exception tells, for a message that names the file already: OSError names it too."""
    return getattr(error, "strerror", None) or str(error)


class DmnilError(Exception):
    """Something the user can put right; the message says what, where and what to do next."""


class ConfigError(DmnilError):
    """A setting is out of range or contradicts another."""


class ArtefactError(DmnilError):
    """An artefact directory is missing, incomplete, altered or of another kind."""


class BundleError(ArtefactError):
    """An encoder bundle cannot be used."""


class MapError(ArtefactError):
    """A region map cannot be used, or cannot be built from the given raster."""


class EngineError(DmnilError):
    """An inference engine cannot be opened or returned something else than descriptors."""


class SourceError(DmnilError):
    """A frame source cannot be read."""


class TelemetryError(DmnilError):
    """A telemetry log cannot be read or does not cover the frames."""


class OutputError(DmnilError):
    """A result cannot be written."""


class StateError(DmnilError):
    """A localiser's saved state cannot be read."""


class TrainingError(DmnilError):
    """Training cannot start or cannot go on."""
