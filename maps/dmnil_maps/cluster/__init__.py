"""Maps described by many machines (extra `cluster`)."""
