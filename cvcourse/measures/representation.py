"""Frozen features: computed in batches, classified by their neighbours or by one linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MOST_STEPS = 1000  # of the probe's optimiser
QUERIES_AT_ONCE = 1000


@torch.no_grad()
def features(encoder: nn.Module, images: Tensor, batch_size: int = 500) -> Tensor:
    """What the encoder makes of images (N, channels, H, W), in evaluation mode.

    Returns (N, ...) float32 on their device. Afterwards the encoder is in the mode it was in.
    Raises ValueError where there is no image.
    """
    if len(images) == 0:
        raise ValueError("There are no images to take features of.")
    training = encoder.training
    encoder.eval()
    try:
        return torch.cat([encoder(batch).float() for batch in images.split(batch_size)])
    finally:
        encoder.train(training)


def knn_classify(
    train_features: Tensor,
    train_labels: Tensor,
    features: Tensor,
    k: int = 20,
    temperature: float = 0.1,
) -> Tensor:
    """The label of each of `features` by a vote of its k nearest training features.

    Near means a large cosine; a vote has the weight exp(cosine / temperature) (Wu et al. 2018,
    section 3.4). features: (M, D). train_features: (N, D). train_labels: (N,) int64 from 0 up.
    Returns (M,) int64. Zero vectors are equally far from everything. Raises ValueError for a k that
    is not between 1 and N, a temperature not above 0, and shapes that do not fit.
    """
    _check_pair(train_features, train_labels, features)
    if not 1 <= k <= len(train_features):
        raise ValueError(
            f"k must lie between 1 and the {len(train_features)} training features, not be {k}."
        )
    if not temperature > 0:
        raise ValueError(f"The temperature must be above 0, not {temperature}.")
    bank = F.normalize(train_features, dim=1)  # (N, D)
    classes = int(train_labels.max()) + 1
    votes = []
    # Batch by batch, so that no table of M x N cosines is needed.
    for batch in F.normalize(features, dim=1).split(QUERIES_AT_ONCE):
        cosines, nearest = (batch @ bank.T).topk(k, dim=1)  # (batch, k)
        # Relative to the nearest one, so that nothing can overflow.
        weights = ((cosines - cosines[:, :1]) / temperature).exp()  # (batch, k)
        none = weights.new_zeros(len(batch), classes)
        votes.append(none.scatter_add_(1, train_labels[nearest], weights))  # (batch, classes)
    return torch.cat(votes).argmax(dim=1)


def linear_probe(
    train_features: Tensor, train_labels: Tensor, features: Tensor, strength: float = 1.0
) -> Tensor:
    """The label of each of `features` (M, D) by logistic regression on `train_features` (N, D).

    Every feature is brought to mean 0 and standard deviation 1 of the training features first.
    strength: the inverse of the weight decay, scikit-learn's C. train_labels: (N,). Returns (M,)
    int64 on the features' device. Raises ValueError for shapes that do not fit, and where all
    training labels are the same.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    _check_pair(train_features, train_labels, features)
    if len(train_labels.unique()) < 2:
        raise ValueError("A probe needs training labels of at least two classes.")
    mean, std = train_features.mean(dim=0), train_features.std(dim=0, correction=0)
    std = torch.where(std > 0, std, 1)  # a constant feature tells nothing and must not become a NaN
    # To the processor first: scikit-learn computes in float64, and Apple's chips have none.
    known = ((train_features - mean) / std).cpu().double().numpy()
    asked = ((features - mean) / std).cpu().double().numpy()
    model = LogisticRegression(C=strength, max_iter=MOST_STEPS)
    with warnings.catch_warnings():
        # Raw pixels need more steps than they are worth.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(known, train_labels.cpu().numpy())
    return torch.from_numpy(model.predict(asked)).long().to(features.device)


def _check_pair(train_features: Tensor, train_labels: Tensor, features: Tensor) -> None:
    """Raise ValueError, in one sentence, for shapes that do not fit together."""
    are_tables = train_features.ndim == 2 and features.ndim == 2
    if not are_tables or train_features.shape[1] != features.shape[1]:
        shapes = f"{tuple(train_features.shape)} and {tuple(features.shape)}"
        raise ValueError(
            f"Features must be two tables (N, D) and (M, D) of one width, not {shapes}."
        )
    if train_labels.shape != train_features.shape[:1]:
        raise ValueError(
            f"There are {len(train_features)} training features for labels of"
            f" {tuple(train_labels.shape)}."
        )
