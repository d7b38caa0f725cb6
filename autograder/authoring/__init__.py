"""From an author's source to a released unit, and the gates that it passes."""
