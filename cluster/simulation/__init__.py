"""A cluster event by event, by the same pure functions that run it: a day of 1,000 replicas in minutes on one core."""
