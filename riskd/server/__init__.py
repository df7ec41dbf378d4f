"""The gRPC service: its messages, methods, callers, queues and processes."""
