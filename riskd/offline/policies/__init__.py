"""Policies judged by what was decided: replayed, compared, calibrated, tried on cases."""
