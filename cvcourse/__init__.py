"""Parts the course notebooks import: data, training, models, measures and widgets."""

__version__ = "0.1.0"
