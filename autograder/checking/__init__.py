"""What runs beside the learner: from an answer to a verdict."""
