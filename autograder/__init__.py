"""Everything between a notebook and a grade."""
