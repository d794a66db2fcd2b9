"""What `redraw` knows of other people."""
