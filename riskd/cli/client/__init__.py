"""The clients of the command line: all of it that speaks gRPC, loaded by the commands that ask a service."""
