"""Who calls, what each may do, and the certificates of both sides."""
