"""The parts of the method `resample`; its card and settings are in `unspan.methods.resample`."""
