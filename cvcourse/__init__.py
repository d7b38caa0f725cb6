"""Parts the course notebooks import: data, training, models, measures and widgets."""

__version__ = "0.2.0"
