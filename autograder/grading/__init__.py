"""From a class's notebooks to grades: intake, sandbox, runner, judge, gradebook, and what an
instructor reads."""
