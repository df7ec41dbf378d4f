"""Judges policies by recorded decisions: replays, compares and calibrates them, and runs their cases."""
