"""History lived through again: a decision log through the same fold and the same features, by any release."""
