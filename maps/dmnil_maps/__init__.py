"""Region maps: satellite rasters cut into tiles and described by the drone's own encoder."""
