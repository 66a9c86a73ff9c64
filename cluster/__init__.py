"""How many replicas of a tier, on what: plain values and pure functions."""
