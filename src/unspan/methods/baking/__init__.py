"""The parts of the method `bake`; its card and settings are in `unspan.methods.bake`."""
