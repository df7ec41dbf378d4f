"""`riskd simulate`: runs a simulated world, audits it, and prints its reference page."""
