"""From a class's notebooks to grades: intake, workers, judging, and the gradebook."""
