"""What a training run shows its user: curves, a history, pages of examples, closing lines."""
