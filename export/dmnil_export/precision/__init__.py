"""One encoder in several precisions: half, and 8 bits with explicit quantisation."""
