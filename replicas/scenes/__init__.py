"""Small scenes of emoji with captions: what the embedded models are trained on and checked against."""
