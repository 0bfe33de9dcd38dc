"""Pure ASGI layers around the routes: request id, in-flight count, access log, body limit."""
