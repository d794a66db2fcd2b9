"""The machine around the mathematics: where to write, memory, user code, hashes."""
