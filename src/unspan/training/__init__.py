"""One explicit loop for every method that trains."""
