"""Maps made of maps: cut, merge, update, and what is different between two."""
