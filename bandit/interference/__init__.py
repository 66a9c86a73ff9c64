"""Variants that share tiers' queues: a simulation of what that does to an experiment, and of the designs that help."""
