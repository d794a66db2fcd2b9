"""Files, memory, hashes and the import of user code: what is not about unlearning itself."""
