"""GDAL's errors in one line."""

from __future__ import annotations

from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

READING_ERRORS = (RasterioError, CPLE_BaseError)
"""What rasterio raises when GDAL cannot read; it lets some of GDAL's own through."""
_LONGEST_MESSAGE = 200


def one_line(error: BaseException) -> str:
    """GDAL's own words, which rasterio often hides behind 'see the previous exception'."""
    cause = error.__cause__ or error
    words = " ".join(str(cause).split()) or type(error).__name__
    return words if len(words) <= _LONGEST_MESSAGE else f"{words[:_LONGEST_MESSAGE]}..."
