"""Makes plain `nbgrader` commands work from the root of the course."""

from autograder.nbgrader_config import configure

configure(get_config())  # traitlets provides get_config
