"""Training of the encoder from unpaired, unlabelled drone and satellite images (DMNIL)."""
