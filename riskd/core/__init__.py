"""The decision itself, as values and pure functions. Nothing here knows a clock, a file, the network or a vendor."""
