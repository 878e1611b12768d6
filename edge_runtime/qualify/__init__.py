"""Whether a map and an encoder can be trusted: many simulated flights, scored."""
