"""Histories made again of the decision log: a store that was lost comes back, while the service serves."""
