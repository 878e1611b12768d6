"""Imagery as people have it: what GDAL may open, where it lies, and how it is read."""
