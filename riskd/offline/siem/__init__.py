"""Exports decisions to a SIEM: lines of the decision log as events of the Open Cybersecurity Schema Framework
(OCSF)."""
