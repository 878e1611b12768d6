"""From one camera frame to one position fix: rectify, search, filter, integrity."""
