"""The MAVLink line to the autopilot: one link that telemetry reads and outputs write."""
