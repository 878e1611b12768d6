"""Flights in the formats of other programs: GPX, KML, GeoJSON, CSV."""
