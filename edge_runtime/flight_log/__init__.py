"""The flight log: everything that came in and every decision, in MCAP files."""
