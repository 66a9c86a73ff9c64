"""Composition: HTTP, Ray Serve and wiring. The only package that may import the other three."""
