"""XML to model and back: pure functions, no sockets."""
