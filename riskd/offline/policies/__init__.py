"""Judges policies by recorded decisions: decides them again, compares and calibrates them, and runs their cases."""
