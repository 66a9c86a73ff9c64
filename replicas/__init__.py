"""Prompt to pixels, on one device. No Ray, no bandit."""
