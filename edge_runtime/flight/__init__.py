"""One flight from its first frame to its flight directory, recorded or live."""
