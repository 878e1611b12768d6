"""Onboard visual localisation: camera frames in, position fixes out."""

__version__ = "0.1.0"

import os

# ONNX Runtime 1.32 reports to its makers, and notes an identity of the machine on disk, from its
# import on unless told not to; its releases ask by one name or the other.
for _name in ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED"):
    os.environ.setdefault(_name, "1")
