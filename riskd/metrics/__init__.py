"""The metrics of a service: the table of them all, and the shared memory in which its processes count."""
