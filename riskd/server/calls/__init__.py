"""The path of a call through the server.

`reception` receives the message, `admission` queues the call or refuses it, `handlers` and `loop` run it on a thread,
and `boundary` turns bytes into requests and errors into statuses. Streams use `inbox`, `streams` and `streaming`.
`health` and `reflection` are gRPC's standard services.
"""
