"""Calls from their arrival to their answer: who waits or is refused, which thread runs them, and the boundary."""
