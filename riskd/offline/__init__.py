"""The workshop: everything that prepares what the service reads, and never runs inside it."""
