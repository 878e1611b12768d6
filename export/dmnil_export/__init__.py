"""Export of a trained encoder to the bundle that maps are built with and that drones fly with."""
