"""Hostile submissions: what each tries, and what must come of it. `python -m tests.redteam` prints
the table."""
