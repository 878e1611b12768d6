"""The flight directory, NAME.flight: its kind, schema and the files that every flight leaves."""

FLIGHT_KIND = "flight log"
FLIGHT_SCHEMA_VERSION = 1
TRACK_PICTURE_NAME = "track.png"
SUMMARY_NAME = "summary.json"
