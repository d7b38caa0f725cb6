"""What a representation is worth, measured.

By neighbours, a linear probe, retrieval, attention, alignment, uniformity, and clicks:

>>> from cvcourse.measures import features, knn_classify
>>> bank, queries = features(encoder, train_images), features(encoder, test_images)
>>> accuracy = (knn_classify(bank, train_labels, queries) == test_labels).float().mean()

Nothing heavy is imported until one of these names is used.
"""

from cvcourse.lazy import lazy

HOME: dict[str, str] = {
    "localised": "attention",
    "features": "representation",
    "knn_classify": "representation",
    "linear_probe": "representation",
    "Answer": "prompts",
    "Asked": "prompts",
    "answers_to_clicks": "prompts",
    "ask": "prompts",
    "automatic_recall": "prompts",
    "ceiling": "prompts",
    "click_disc": "prompts",
    "correlation": "prompts",
    "embed": "prompts",
    "flood_fill": "prompts",
    "report": "prompts",
    "mean_average_precision": "retrieval",
    "alignment": "sphere",
    "uniformity": "sphere",
}

__getattr__, __dir__, __all__ = lazy(__name__, HOME)
