"""`riskd demo`: shows riskd at work, with a story of sign-ins, or with a training from beginning to end."""
