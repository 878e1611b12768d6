"""How well drone views and satellite views find each other: scores, robustness, reports."""
