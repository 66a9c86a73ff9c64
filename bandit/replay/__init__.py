"""Full-information tables (every model drew every prompt) replayed as a bandit: only the chosen arm is revealed."""
