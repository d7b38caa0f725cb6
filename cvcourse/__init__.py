"""Parts the course notebooks import: data, training, models, measures, widgets, schematics."""

__version__ = "0.2.0"
