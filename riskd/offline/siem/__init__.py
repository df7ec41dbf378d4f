"""Decisions for a SIEM: lines of the decision log as events of the Open Cybersecurity Schema Framework."""
