"""Promptable segmentation on nested scenes, outside the notebook.

The cpu budget is that of the notebook. The gpu budget paints scenes of 128x128, with up to three
places, and asks for sixteen objects of each in four rounds, in bfloat16; its weights fit into 12
MB.

`click 1` to `click 5` are mean IoU with the object in mind after so many clicks, `best` that of the
best of the three masks after one, `box` after a box; `correlation` is that of predicted and true
IoU. All on scenes that were not trained
on: `evaluate` reads those of seed 1, on which settings may be chosen; the last numbers are of seed
2.
"""

import torch
from torch import nn

from cvcourse import measures, models
from cvcourse.data import nested_scenes
from cvcourse.training import adamw, fit, warmup_cosine

DATA = ("nested",)
BUDGETS = {
    "smoke": {
        "size": 32,
        "places": (1, 2),
        "scenes": 64,
        "embed_dim": 16,
        "width": 8,
        "blocks": 1,
        "heads": 2,
        "mlp": 32,
        "steps": 4,
        "batch_size": 8,
        "objects": 2,
        "rounds": 2,
        "rate": 2e-3,
    },
    "cpu": {
        "size": 32,
        "places": (1, 2),
        "scenes": 6000,
        "embed_dim": 64,
        "width": 16,
        "blocks": 3,
        "heads": 4,
        "mlp": 128,
        "steps": 1000,
        "batch_size": 8,
        "objects": 4,
        "rounds": 2,
        "rate": 3e-3,
    },
    "gpu": {
        "size": 128,
        "places": (1, 3),
        "scenes": 20_000,
        "embed_dim": 128,
        "width": 32,
        "blocks": 6,
        "heads": 8,
        "mlp": 512,
        "steps": 60_000,
        "batch_size": 32,
        "objects": 16,
        "rounds": 4,
        "rate": 8e-4,
    },
}
SIZES = ("size", "embed_dim", "width", "blocks", "heads", "mlp")
EVALUATIONS = {"smoke": 2, "cpu": 4, "gpu": 12}
TESTED = {"smoke": 10, "cpu": 300, "gpu": 300}  # scenes


def train(exercises, budget, data, seed):
    """Train a promptable model on scenes of parts, wholes and groups as the budget says, and
    measure what it can do."""
    scenes = nested_scenes(budget.scenes, budget.size, seed=0, places=budget.places).to(
        budget.device
    )
    chosen_on, tested_on = (
        nested_scenes(TESTED[budget.name], budget.size, seed=part, places=budget.places)
        for part in (1, 2)
    )
    sam = make_sam(exercises, budget).to(budget.device)
    loss = models.ClickLoss(
        sam,
        budget.objects,
        budget.rounds,
        best_mask_loss=exercises.best_mask_loss,
        iou_targets=exercises.iou_targets,
        sample_next_click=exercises.sample_next_click,
    )
    run = fit(
        sam,
        (scenes.images, scenes.levels),
        steps=budget.steps,
        batch_size=budget.batch_size,
        optimizer=adamw(budget.rate),
        schedule=warmup_cosine(0.05),
        loss=loss,
        seed=seed,
        precision="auto",
        channels_last=True,
        clip=1.0,
        evaluate=lambda model: measured(model, chosen_on),
        evaluate_every=budget.steps // EVALUATIONS[budget.name],
    )
    numbers = measured(sam, tested_on)
    numbers["prompts_per_second"] = round(
        run.done * budget.batch_size * budget.objects / run.seconds
    )
    numbers["parameters"] = sum(parameter.numel() for parameter in sam.parameters())
    results = run.results(**numbers)
    results.configuration |= {**budget.settings, "schedule": "warmup_cosine(0.05)"}
    return results


def make_sam(exercises, budget) -> models.Sam:
    """The exercises' prompt encoder and decoder behind the library's image encoder."""
    sizes = {name: budget.settings[name] for name in SIZES}
    return models.build_sam(
        **sizes, prompt_encoder=exercises.PromptEncoder, mask_decoder=exercises.MaskDecoder
    )


def measured(sam: nn.Module, scenes) -> dict[str, float]:
    """What `measures.report` finds on scenes, computed where the model is."""
    device = next(sam.parameters()).device
    sam.eval()
    with torch.no_grad():
        scenes = scenes.to(device)
        return measures.report(sam, scenes, measures.ask(scenes))
