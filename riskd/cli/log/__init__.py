"""`riskd log`: inspects, queries, exports and compacts the decision log."""
