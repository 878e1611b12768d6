"""Onboard visual localisation: camera frames in, position fixes out."""

__version__ = "0.1.0"
