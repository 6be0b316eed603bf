"""Read queries over more than one row."""
