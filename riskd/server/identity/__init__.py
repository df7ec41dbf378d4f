"""Authentication and authorisation of callers, and the server's TLS certificate."""
