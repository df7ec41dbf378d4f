"""Replays a decision log: the same attempts, outcomes and events, assessed again by any release."""
