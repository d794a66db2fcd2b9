"""The parts of the method `dlfd`; its card and settings are in `unspan.methods.dlfd`."""
