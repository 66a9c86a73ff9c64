"""What another policy would have earned, answered from the log of the one that acted, with intervals that hold."""
