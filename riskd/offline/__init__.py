"""The workshop: makes models from what was recorded. Nothing here is imported when riskd serves."""
