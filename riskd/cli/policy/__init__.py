"""`riskd policy`: work on policies before a service loads them."""
