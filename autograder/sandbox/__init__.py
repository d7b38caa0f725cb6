"""Both ends of the line to the runner, which executes what learners wrote."""
