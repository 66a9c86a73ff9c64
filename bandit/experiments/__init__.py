"""Live experiments: policies side by side on real traffic, judged by statistics that may be looked at at any time."""
