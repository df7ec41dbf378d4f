"""What models say and do: explained, compared, and let decide."""
