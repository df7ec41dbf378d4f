"""`riskd model`: work on models before and while they decide."""
