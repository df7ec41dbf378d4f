"""Explains models, compares them, and checks them before promotion."""
