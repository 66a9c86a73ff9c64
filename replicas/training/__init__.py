"""One command retrains each embedded model: `python -m replicas.training.<name>`; resumable, with progress."""
