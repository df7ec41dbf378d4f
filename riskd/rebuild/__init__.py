"""Rebuilds the histories of a lost store from the decision log, while the service runs."""
