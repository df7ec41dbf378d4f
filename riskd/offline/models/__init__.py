"""Judges models: evaluates them beside others, explains them, compares them, and checks them before promotion."""
