"""What people and machines may watch of a flight: metrics, health and a live page, read-only."""
