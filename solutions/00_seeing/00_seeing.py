# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 00 Seeing: images, tasks and the visual system
#
# A camera delivers a block of numbers. A person who looks at the same view reports a cup, its edge, its handle, and
# where to grasp it. This course is about the way from the numbers to such a report.
#
# In this unit you turn an image file into a tensor, write down what four vision tasks ask for, and measure how well
# two boxes agree. Then you build two kinds of cell that Hubel and Wiesel found in the visual cortex of the cat,
# record from them with an electrode, and let gradient descent find out what an unknown cell likes to see.
#
# Plan about two hours. You need Python and some first experience with PyTorch tensors: indexing, broadcasting, sums
# over an axis.

# %% [markdown]
# ## How these notebooks work
#
# **Exercises.** Text and short code cells lead to exercises. An exercise's heading says how many points it carries,
# how hard it is and about how long it takes. Its cell holds a function whose body is `raise NotImplementedError`.
# Replace that line, keep the name and the arguments, run the cell, then run the check cell below it.
#
# **Checks.** A check calls your function on several inputs, the cases, and shows one line for each. The points are
# divided among the cases, so an answer that is right in some of them earns part of the points. When your result
# equals what a known mistake produces, the check says which mistake that is and where to look.
#
# **Hints.** Under a failed check you find folded hints. Open one, think, open the next only when you need it. Hints
# cost nothing.
#
# **Grading.** When you hand the notebook in, the same functions meet further cases with other sizes and other
# numbers. A function that does what its description says passes them too.
#
# **Widgets.** Pictures with sliders draw *your* function. A line under the picture says so. Where your function is
# missing or fails, the picture shows the course's own version, and the line says that.
#
# **Training cells** print the budget they chose: a small one on a CPU, a larger one where there is a GPU. The stop
# button ends the training early and keeps what was learned so far.
#
# **Written questions** have an answer cell for you to edit. A person reads them; two to five sentences are enough.
#
# Run the next cell first. It loads what this notebook uses.

# %% tags=["setup"]
from autograder.check import Checker
import math
import torch
from cvcourse import data, schematics
from cvcourse.training import budget
from cvcourse.widgets import Lab, Scene, Slider, Table, curves, image, show

check = Checker("00_seeing")

# %% [markdown]
# ### How to read a failed check
#
# You will see failed checks, and they are there to help. Here is one on purpose. Suppose that someone was asked for
# `semantic_from_instances`, your second exercise: given the object number of every pixel and the class of every
# object, return the class of every pixel. This attempt is wrong.


# %% tags=["figure"]
def semantic_from_instances(instances, classes):
    return (instances > 0).long()


try:
    check(semantic_from_instances)
except AssertionError as failed:
    print(failed)

# %% [markdown]
# Read the table from the top.
#
# 1. The first line names the exercise, counts the right cases, and says how many points this attempt would earn.
# 2. Each line is one case: what the function was called with, by name, shape and type, and what differs. Here shape
#    and type are right, so the check reports how many values differ and where the largest difference is. Had the
#    shape been wrong, it would say only that, because there would be no point in comparing numbers.
# 3. The sentence that begins with "This is exactly what" is the diagnosis: the results equal what a known mistake
#    gives, in every case. The line below it says where to look. Not every wrong answer is a known one. If yours is
#    not, the cases have to show you what is wrong.
# 4. Hints are folded under the table.
#
# In a check cell the last printed line comes as an error, so that the run stops where something is wrong. You lose
# nothing by it: mend the function, run its cell, run the check again.

# %% [markdown]
# ## An image is a block of numbers
#
# An image file is decoded to integers from 0 to 255, one byte each: `uint8`. They are stored pixel by pixel, so the
# channels of a pixel lie side by side and the shape is (height, width, channels), **HWC** for short. Rows count from
# the top, columns from the left.
#
# The next cell takes a photograph of a cup and stores its numbers as a file does. Look at the order of the three
# axes.

# %% tags=["helper"]
photograph = data.photographs("coffee", size=(120, 180))["coffee"]
planes = (photograph * 255).round().byte()  # (3, 120, 180)
pixels = torch.stack(list(planes), dim=-1)  # (120, 180, 3)

# %% tags=["figure"]
row, column = 90, 40
print("shape", tuple(pixels.shape), " type", pixels.dtype)
print(f"red, green and blue in row {row}, column {column}:", pixels[row, column].tolist())
show(
    image(pixels, "120 rows, 180 columns, 3 channels", points=[(row, column)]),
    alt="A photograph of a coffee cup on a red-brown saucer; a dot marks the pixel whose numbers are printed.",
)

# %% [markdown]
# Networks want the same numbers in another form, for two reasons.
#
# *Arithmetic.* A byte cannot hold more than 255, and it does not complain: it starts again from 0. Twice 200 should
# be 400.

# %% tags=["figure"]
bright = torch.tensor(200, dtype=torch.uint8)
as_float = bright.float()
print("as bytes:", (bright + bright).item(), "  as floats:", (as_float + as_float).item())

# %% [markdown]
# So images are turned into floating-point numbers and divided, so that black is 0 and white is 1, however many bits
# per number the file used.
#
# *Layout.* A network filters each channel as a picture of its own, multiplies the results by weights, and adds them
# up. PyTorch therefore keeps channels first, as (channels, height, width), **CHW**, with a batch axis in front when
# there are several images.

# %% [markdown]
# ### 0.1 `to_tensor` · 2 points · easy · 5 min
#
# Turn a decoded image into a tensor for a network: channels first, floating point, 0 for black and 1 for a full
# byte. A grey image comes without a channel axis; it gets one. Each pixel must keep its place.


# %% nbgrader={"grade": false, "grade_id": "to_tensor", "locked": false, "schema_version": 3, "solution": true, "task": false}
def to_tensor(picture: torch.Tensor) -> torch.Tensor:
    """Decoded image to network input.

    picture: (height, width, channels) or (height, width), uint8. Returns (channels, height, width) float32 in [0, 1].
    """
    ### BEGIN SOLUTION
    if picture.ndim == 2:
        picture = picture[:, :, None]
    return picture.permute(2, 0, 1).float() / 255
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_to_tensor", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(to_tensor)
### BEGIN HIDDEN TESTS
check(to_tensor, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# The right shape alone proves little. `reshape` gives (3, 120, 180) as well, but it reads the numbers as one long row
# and cuts it into three. So the first plane holds the top third of the picture, with red, green and blue in turn.

# %% tags=["figure"]
dealt_out = pixels.reshape(3, 120, 180)
show(
    image(to_tensor(pixels)[0], "plane 0 of your tensor: red"),
    image(dealt_out[0], "plane 0 after reshape"),
    alt="Left: the red channel of the photograph. Right: a grid of dots in which its top third appears in fragments.",
)

# %% [markdown]
# With channels first, work on colours is one line: `picture[0]` is the red plane, and `picture * gains[:, None,
# None]` multiplies each plane by a gain of its own.
#
# **Try it.** The saucer is medium grey in the red plane and nearly black in the other two; that is all its colour
# consists of. Now compare the coffee with the rim of the cup: in the blue plane they differ strongly, in the red one
# hardly. Turn green and blue down to 0, and the coffee merges with its cup. What told the two apart is gone, and no
# later step can bring it back.


# %% tags=["widget"]
def mix(to_tensor, red, green, blue):
    gains = torch.tensor([red, green, blue])
    weighted = (to_tensor(pixels) * gains[:, None, None]).clamp(0, 1)  # (3, 120, 180)
    return Scene(
        image(weighted, "mixed"),
        *(
            image(weighted[k], f"plane {k}: {name}")
            for k, name in enumerate(("red", "green", "blue"))
        ),
        caption="Gains multiply the planes; what exceeds 1 is cut off at white.",
    )


Lab(
    mix,
    function=to_tensor,
    fallback=lambda pixels: photograph,
    title="Channel mixer",
    alt="A colour picture and its red, green and blue planes, each multiplied by the gain of its slider.",
    red=Slider(0.0, 2.0, value=1.0, step=0.1),
    green=Slider(0.0, 2.0, value=1.0, step=0.1),
    blue=Slider(0.0, 2.0, value=1.0, step=0.1),
)

# %% [markdown]
# ## Channels are not colours
#
# A channel is any quantity measured at every pixel. A network does not know what "red" means; it sees plane 0. So
# the same layout carries very different measurements, and time or depth become one more axis:
#
# | measurement | layout |
# | --- | --- |
# | colour and depth (distance from the camera) | (4, H, W) |
# | multispectral satellite image, one channel per wavelength band | (bands, H, W) |
# | CT volume: grey slices stacked along the body | (1, slices, H, W) |
# | microscope stack: one channel per dye, one image per focal plane | (dyes, planes, H, W) |
# | video: one colour image per frame | (frames, 3, H, W) |
#
# Two warnings follow. Dividing by 255 is right for bytes only: a 12-bit detector counts to 4095. And the sizes grow
# quickly, as the next cell computes for typical examples. Float32 takes four times as much memory as bytes.

# %% tags=["figure"]
examples = {
    "colour photograph": (3, 480, 640),
    "10-band satellite tile": (10, 512, 512),
    "CT volume of 200 slices": (1, 200, 512, 512),
    "10 s of video, 25 frames per second": (250, 3, 480, 640),
}
sizes = []
for name, shape in examples.items():
    millions = math.prod(shape) / 1e6
    sizes.append([name, shape, f"{millions:.1f}", f"{4 * millions:.1f}"])
Table(["example", "shape", "MB, bytes", "MB, float32"], sizes)

# %% [markdown]
# How does such a file become a tensor? The function `data.open_picture`, which later units use for your own photographs,
# opens pictures only and says what it found in any other file. Here is how three other kinds of files are read, each in
# one line (this code is not run here). The second line makes a picture, and what it should show is a choice:
#
# ```python
# # a microscope's stack: each place shows its brightest slice
# stack = torch.from_numpy(tifffile.imread("cells.tif").astype("float32"))  # (slices, H, W)
# picture = stack.amax(dim=0) / stack.max()  # (H, W)
#
# # a satellite's bands: those numbered 3, 2 and 1 hold red, green and blue light
# bands = torch.from_numpy(tifffile.imread("field.tif").astype("float32"))  # (bands, H, W)
# picture = bands[[3, 2, 1]] / bands[[3, 2, 1]].max()  # (3, H, W)
#
# # a CT slice in Hounsfield units (air -1000, water 0, bone 1000): the window from -160, black, to 240, white
# units = torch.from_numpy(imageio.v2.imread("slice.dcm", format="DICOM").astype("float32"))  # (H, W)
# picture = ((units + 160) / 400).clamp(0, 1)  # (H, W)
# ```

# %% [markdown]
# ## Four tasks for one picture
#
# "Understand this picture" is not a task that one can check. These four tasks can be checked, because each says which
# shape its output has:
#
# | task | its question | its output for one image with $K$ objects |
# | --- | --- | --- |
# | classification | what is this a picture of? | one class number |
# | semantic segmentation | which class does each pixel belong to? | (H, W) class numbers |
# | object detection | which objects are where? | ($K$,) class numbers and ($K$, 4) boxes |
# | instance segmentation | which pixels belong to which object? | (H, W) object numbers and ($K$,) class numbers |
#
# By convention, number 0 means background, both among classes and among objects. Objects are numbered from 1.
#
# The outputs do not all say equally much. From an instance segmentation one can compute the semantic segmentation and
# the boxes, but not the other way round. You write both computations now. With them, one set of annotations gives the
# targets of several tasks.
#
# We use painted scenes, where every pixel's object is known. This is what the scene set holds:

# %% tags=["helper"]
street = data.scenes(60, size=64, objects=3, seed=2, classes=("disc", "square", "star"))


def objects_of(number):
    """Object numbers (H, W), class numbers (K,) counted from 1, and one mask per object (K, H, W) of a scene."""
    instances, classes = street.instance_masks[number].long(), street.classes[number] + 1
    masks = instances == torch.arange(1, len(classes) + 1)[:, None, None]  # (K, H, W)
    return instances, classes, masks


# %% tags=["figure"]
instances, classes, masks = objects_of(5)
print("object numbers in the image:", instances.unique().tolist())
print(
    "their classes:",
    {k: street.class_names[label - 1] for k, label in enumerate(classes.tolist(), start=1)},
)
print("masks:", tuple(masks.shape), masks.dtype, " pixels in each:", masks.sum(dim=(1, 2)).tolist())

# %% [markdown]
# ### 0.2 `semantic_from_instances` · 2 points · easy · 5 min
#
# Given the object number of every pixel and the class of every object, return the class of every pixel. The class
# of object 1 stands in `classes[0]`; the background keeps its 0. Some objects may have no pixel at all, because
# others cover them.


# %% nbgrader={"grade": false, "grade_id": "semantic_from_instances", "locked": false, "schema_version": 3, "solution": true, "task": false}
def semantic_from_instances(instances: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Class of every pixel, from the object that it belongs to.

    instances: (height, width) int64, 0 for background, else an object's number from 1 to K.
    classes: (K,) int64, the class of each object, from 1. Returns (height, width) int64.
    """
    ### BEGIN SOLUTION
    class_of = torch.cat([torch.zeros_like(classes[:1]), classes])  # (K + 1,)
    return class_of[instances]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_semantic_from_instances", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(semantic_from_instances)
### BEGIN HIDDEN TESTS
check(semantic_from_instances, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Something was lost on the way. Where two objects of one class touch, the semantic mask shows a single region. The
# next cell paints 40 scenes full of discs. It counts their objects, and the connected regions of their semantic
# masks.

# %% tags=["figure"]
from scipy.ndimage import label as connected_regions

crowds = data.scenes(40, size=64, objects=6, seed=0, classes=("disc",))
regions = 0
for instances, classes in zip(crowds.instance_masks.long(), crowds.classes + 1, strict=True):
    semantic = semantic_from_instances(instances, classes)
    regions += connected_regions(semantic)[1]
print(
    f"visible objects: {int(crowds.visible.sum())}, connected regions in the semantic masks: {regions}"
)

# %% [markdown]
# More than half of the objects disappeared into their neighbours. Counting needs object numbers, or boxes.
#
# ## Boxes
#
# A box gives an object's extent in four numbers. There are many conventions, and mixing them is one of the
# commonest errors in detection code. Ours, throughout the course:
#
# $$(x_{\min},\; y_{\min},\; x_{\max},\; y_{\max})$$
#
# $x$ counts columns, $y$ counts rows, and the maxima are **exclusive**: they name the first column and row that no
# longer belong to the object. So the width is $x_{\max} - x_{\min}$ without any "+ 1", an object of a single pixel
# has width 1, and `image[:, y_min:y_max, x_min:x_max]` cuts it out. Note the order: $x$ comes first in a box, but the
# row, $y$, comes first in an index.

# %% [markdown]
# Here is the box (2, 1, 6, 4) on an image of 6 rows and 9 columns. Its maxima name the first column and row outside,
# and the centre of a pixel lies half a pixel from its edges.

# %% tags=["figure"]
schematics.pixel_box(box=(2, 1, 6, 4), size=(6, 9))

# %% [markdown]
# ### 0.3 `boxes_from_masks` · 3 points · medium · 10 min
#
# For each mask, find the smallest box that holds all its true pixels. An object that is wholly hidden has an empty
# mask; its box is four zeros. A loop over the masks is welcome. `nonzero` and `any` are both good starting points.


# %% nbgrader={"grade": false, "grade_id": "boxes_from_masks", "locked": false, "schema_version": 3, "solution": true, "task": false}
def boxes_from_masks(masks: torch.Tensor) -> torch.Tensor:
    """Tightest boxes around masks.

    masks: (K, height, width) bool.
    Returns (K, 4) int64: x_min, y_min, x_max, y_max, maxima exclusive; zeros for an empty mask.
    """
    ### BEGIN SOLUTION
    boxes = torch.zeros(len(masks), 4, dtype=torch.int64)
    for k, mask in enumerate(masks):
        rows, columns = mask.nonzero(as_tuple=True)
        if len(rows) > 0:
            boxes[k, :2] = torch.stack([columns.min(), rows.min()])
            boxes[k, 2:] = torch.stack([columns.max(), rows.max()]) + 1
    return boxes
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_boxes_from_masks", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(boxes_from_masks)
### BEGIN HIDDEN TESTS
check(boxes_from_masks, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Now you have all four targets of a scene. **Try it:** move through the scenes and look for three things: two objects
# that share a colour in the semantic segmentation but not in the instance segmentation; a box that reaches over
# another object; and a box in which most pixels do not belong to the object.


# %% tags=["helper"]
def four_targets(semantic_from_instances, boxes_from_masks, scene):
    instances, classes, masks = objects_of(scene)
    boxes = []
    for (left, top, right, bottom), label in zip(
        boxes_from_masks(masks).tolist(), classes.tolist(), strict=True
    ):
        boxes.append((top, left, bottom - top, right - left, street.class_names[label - 1]))
    return Scene(
        image(street.images[scene], f"classification: {street.class_names[street.labels[scene]]}"),
        image(
            semantic_from_instances(instances, classes), "semantic segmentation", colours="labels"
        ),
        image(street.images[scene], "detection", boxes=boxes),
        image(instances, "instance segmentation", colours="labels"),
        caption="The class of the picture is that of its front object.",
    )


# %% tags=["widget"]
from scipy.ndimage import find_objects


def semantic_by_product(instances, classes):
    return (torch.nn.functional.one_hot(instances, len(classes) + 1)[..., 1:] * classes).sum(dim=-1)


def boxes_by_scipy(masks):
    found = [
        (find_objects(mask.int().numpy()) or [(slice(0, 0), slice(0, 0))])[0] for mask in masks
    ]
    return torch.tensor([[x.start, y.start, x.stop, y.stop] for y, x in found])


Lab(
    four_targets,
    function=(semantic_from_instances, boxes_from_masks),
    fallback=(semantic_by_product, boxes_by_scipy),
    title="One scene, four targets",
    alt="A painted scene with its class, its semantic mask, its labelled boxes and its instance mask side by side.",
    scene=Slider(0, 59, value=5),
)

# %% [markdown]
# How much of a box is the object? The next cell measures it for the whole set.

# %% tags=["figure"]
share = []
for number in range(len(street)):
    masks = objects_of(number)[2]
    masks = masks[masks.any(dim=2).any(dim=1)]
    left, top, right, bottom = boxes_from_masks(masks).unbind(dim=1)
    share += (masks.sum(dim=(1, 2)) / ((right - left) * (bottom - top))).tolist()
print(
    f"On average {sum(share) / len(share):.0%} of a box is the object, at worst {min(share):.0%}."
)

# %% [markdown]
# ### How well do two boxes agree?
#
# A detector's box is never exactly the annotated one. To say how close it is, divide the area that both boxes share
# by the area that they cover together. This is the *intersection over union*:
#
# $$\mathrm{IoU}(A, B) = \frac{|A \cap B|}{|A \cup B|} = \frac{|A \cap B|}{|A| + |B| - |A \cap B|}$$
#
# It is 1 for equal boxes, 0 for boxes that share nothing, and it does not change when the whole picture is enlarged.
# The shared part of two boxes is a box again: it begins at the larger of the two minima and ends at the smaller of
# the two maxima, along $x$ and along $y$.
#
# A detector proposes many boxes for many objects, so the useful form compares *every* box of one list with *every*
# box of another, and gives a table.

# %% [markdown]
# ### 0.4 `box_iou` · 3 points · medium · 10 min
#
# Return the table of all intersections over unions. All boxes have a positive area. Before you multiply, think of
# boxes that do not meet.


# %% nbgrader={"grade": false, "grade_id": "box_iou", "locked": false, "schema_version": 3, "solution": true, "task": false}
def box_iou(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Intersection over union of every pair of boxes.

    first: (N, 4), second: (M, 4), floating point; x_min, y_min, x_max, y_max, maxima exclusive.
    Returns (N, M), of the type that the boxes have.
    """
    ### BEGIN SOLUTION
    starts = torch.maximum(first[:, None, :2], second[:, :2])  # (N, M, 2)
    ends = torch.minimum(first[:, None, 2:], second[:, 2:])  # (N, M, 2)
    intersection = (ends - starts).clamp(min=0).prod(dim=-1)
    first_area = (first[:, 2:] - first[:, :2]).prod(dim=-1)
    second_area = (second[:, 2:] - second[:, :2]).prod(dim=-1)
    return intersection / (first_area[:, None] + second_area - intersection)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_box_iou", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(box_iou)
### BEGIN HIDDEN TESTS
check(box_iou, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# IoU is strict. Move a box of width 1 sideways by $s$: it shares $1 - s$ with its old place, and together the two
# cover $1 + s$. So $\mathrm{IoU} = (1 - s)/(1 + s)$, and a box that is off by half its width scores only 1/3.

# %% tags=["figure"]
shift = torch.linspace(0, 2, 81)
still = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
moved = still + shift[:, None] * torch.tensor([1.0, 0.0, 1.0, 0.0])  # (81, 4)
iou = box_iou(still, moved)[0]  # (81,)
print(
    f"off by a tenth {iou[4]:.3f}, by half {iou[20]:.3f}, by its width {iou[40]:.3f}, by twice that {iou[80]:.3f}"
)
show(
    curves(
        {
            "your box_iou": (shift, iou),
            "(1 − s) / (1 + s)": (shift[:41], (1 - shift[:41]) / (1 + shift[:41])),
        },
        x_label="shift s, in widths of the box",
        y_label="IoU",
    ),
    alt="IoU falls steeply from 1 to 0 while the box moves by its width, then stays 0; both curves coincide.",
)

# %% [markdown]
# The flat part matters as well: once the boxes have parted, IoU is 0 however far apart they are. It cannot tell a
# near miss from a far one, and its gradient, which is 0 there, gives no direction in which to improve.

# %% [markdown] nbgrader={"grade": false, "grade_id": "about_question_targets", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ### Question 1 · 2 points
#
# A laboratory photographs cell nuclei under a microscope. Nuclei often touch. It wants two numbers per image: how
# many nuclei there are, and their mean area. Which of the four targets should it annotate? Say for each of the
# other three what would go wrong with the count or with the area.

# %% [markdown] nbgrader={"grade": true, "grade_id": "question_targets", "locked": false, "points": 2, "schema_version": 3, "solution": true, "task": false}
# Instance segmentation: the number of objects is the number of different object numbers, and each area is a count
# of pixels. A class for the whole image gives neither number. A semantic mask gives the total area of all nuclei,
# but touching nuclei merge into one region, so the count is too low and the mean area too high. Boxes give the
# right count, but an area that is too large, because a box also holds background and parts of neighbours (in our
# scenes a good part of an average box is not the object).

# %% [markdown]
# ## The electrode
#
# What does a brain do first with what the eye sees? Hubel and Wiesel lowered a fine electrode into the visual cortex
# of a cat, showed it spots and bars of light on a screen, and listened to single cells ("Receptive fields, binocular
# interaction and functional architecture in the cat's visual cortex", 1962).
#
# The part of the retina where light can influence a cell is the cell's **receptive field**. The receptive fields of
# cells in the retina are round: light in the centre excites the cell and light around it inhibits the cell, or the
# reverse. Cells of the cortex were different. Their fields consisted of elongated excitatory and inhibitory parts
# side by side, and such a cell responded to a bar or an edge at one particular *orientation*. For one group, which
# they called **simple** cells, the map of these parts already explained how the cell responded to a bar.
#
# Jones and Palmer ("An evaluation of the two-dimensional Gabor filter model of simple receptive fields in cat striate
# cortex", 1987) later measured such maps in two dimensions and fitted a formula to them. What the formula left
# unexplained could not be told from noise. The formula is a wave under a Gaussian bell, a **Gabor function**:
#
# $$g(x, y) = \exp\left(-\frac{x'^2 + \gamma^2 y'^2}{2\sigma^2}\right)
# \cos\left(\frac{2\pi x'}{\lambda} + \varphi\right)$$
#
# $$x' = x\cos\theta + y\sin\theta, \qquad y' = -x\sin\theta + y\cos\theta$$
#
# The origin is the middle of the field, $x$ runs to the right and $y$ down, both in pixels. Take the formula apart:
#
# - $x'$ and $y'$ are the same axes turned by the angle $\theta$, in radians. Along $x'$ the wave rises and falls;
#   along $y'$ it does not change. So $\theta = 0$ makes vertical stripes, and $\theta$ is the direction *across* the
#   stripes. Because $y$ runs down, a growing $\theta$ turns them clockwise.
# - $\lambda$, in code `wavelength`, is the distance in pixels from one bright stripe to the next.
# - $\varphi$, in code `phase`, moves the stripes under the bell. With $\varphi = 0$ the field is *even*: a bright
#   stripe in the middle. With $\varphi = -\pi/2$ the cosine becomes a sine and the field is *odd*: an edge in the
#   middle.
# - $\sigma$ is the width of the bell, and $\gamma$, in code `aspect`, its proportions: below 1, the bell is longer
#   along the stripes than across them.

# %% [markdown]
# ### 0.5 `gabor` · 4 points · medium · 15 min
#
# Write the formula for a square field of `size` by `size` pixels. The middle of the field, $(0, 0)$, lies at position
# `(size - 1) / 2` along both axes, so for an even `size` it lies between pixels. The row index comes first, as
# always: `field[i, j]` lies at $y$ of row $i$ and $x$ of column $j$. A row of $x$ and a column of $y$ broadcast to
# the whole field.
#
# Each parameter may be a plain number, or a tensor with a single number. The end of the unit trains such tensors, so
# gradients must flow to them. `torch.as_tensor(theta)` turns a plain number into a tensor and leaves a tensor as it
# is; functions from `math` would cut off the gradient.


# %% nbgrader={"grade": false, "grade_id": "gabor", "locked": false, "schema_version": 3, "solution": true, "task": false}
def gabor(
    size: int,
    theta: float | torch.Tensor,
    wavelength: float | torch.Tensor,
    sigma: float | torch.Tensor,
    phase: float | torch.Tensor = 0.0,
    aspect: float | torch.Tensor = 0.5,
) -> torch.Tensor:
    """Gabor function on a square field (Jones and Palmer 1987).

    theta, phase: radians; wavelength, sigma: pixels; aspect: the gamma of the formula. Each is a
    number, or a tensor with one number. Returns (size, size) float32. Gradients must flow to theta,
    wavelength, sigma and phase.
    """
    ### BEGIN SOLUTION
    theta = torch.as_tensor(theta)
    axis = torch.arange(size) - (size - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")  # (size, size) each
    across = x * torch.cos(theta) + y * torch.sin(theta)
    along = -x * torch.sin(theta) + y * torch.cos(theta)
    bell = torch.exp(-(across**2 + aspect**2 * along**2) / (2 * sigma**2))
    return bell * torch.cos(2 * math.pi * across / wavelength + phase)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_gabor", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(gabor)
### BEGIN HIDDEN TESTS
check(gabor, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Look at what you wrote. In the first four pictures only $\theta$ changes, in the other four only $\varphi$. Light on
# the orange parts excites the cell, light on the blue parts inhibits it.

# %% tags=["helper"]
size, wavelength, sigma, preferred = 31, 8.0, 5.0, math.radians(30)

# %% tags=["figure"]
turned = {
    f"theta {value}°": gabor(size, math.radians(value), wavelength, sigma)
    for value in (0, 45, 90, 135)
}
shifted = {
    f"phase {value}°": gabor(size, 0.0, wavelength, sigma, math.radians(value))
    for value in (0, -90, 180, 90)
}
for fields in (turned, shifted):
    show(
        *(image(field, title, colours="signed", limits=(-1, 1)) for title, field in fields.items()),
        alt=f"Four Gabor fields, stripes under a Gaussian bell: {', '.join(fields)}.",
    )

# %% [markdown]
# ### A cell that responds
#
# A receptive field is a weight for every pixel. A simple cell multiplies the image by its field, pixel by pixel, and
# adds up: light on excitatory parts adds to the sum, light on inhibitory parts takes away from it. We call this sum
# the cell's drive,
#
# $$L = \sum_{x, y} g(x, y)\, I(x, y).$$
#
# A nerve cell signals by firing, and it cannot fire less often than never. So its response is the positive part of
# the drive, $\max(0, L)$: half-wave rectification, which deep learning calls a ReLU. We measure the image $I$ as
# contrast against a grey screen: 0 is the grey, 1 is white, $-1$ is black.

# %% [markdown]
# ### 0.6 `simple_cell` · 2 points · easy · 5 min
#
# Return the response of one simple cell to each of many images. The images may have any number of axes in front of
# height and width, or none: a single image gives a single response. In the description, `...` stands for these axes.


# %% nbgrader={"grade": false, "grade_id": "simple_cell", "locked": false, "schema_version": 3, "solution": true, "task": false}
def simple_cell(images: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
    """Rectified sum of an image under a receptive field.

    images: (..., height, width), field: (height, width), floating point.
    Returns (...), of the type that both have. Gradients must flow to field.
    """
    ### BEGIN SOLUTION
    drive = (images * field).sum(dim=(-2, -1))
    return drive.relu()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_simple_cell", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(simple_cell)
### BEGIN HIDDEN TESTS
check(simple_cell, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Now the experiment. `bar` draws a bar of light on a grey screen; like a Gabor field it is turned by $\theta$, the
# direction across the bar, and `offset` moves it sideways. Where angles or offsets are tensors, there is one image
# for each number.


# %% tags=["helper"]
def bar(size, theta, offset, width=3.0):
    """Images (..., size, size) of a bright bar on a grey screen. theta: radians, offset and width: pixels."""
    theta = torch.as_tensor(theta)[..., None, None]
    offset = torch.as_tensor(offset)[..., None, None]
    x = torch.arange(size) - (size - 1) / 2
    distance = (x * theta.cos() + x[:, None] * theta.sin() - offset).abs()
    return (width / 2 + 0.5 - distance).clamp(0, 1)


# %% tags=["figure"]
even = gabor(size, preferred, wavelength, sigma)
angles = torch.arange(0, 180, 5)
rates = simple_cell(bar(size, angles.deg2rad(), 0.0), even)  # (36,)
best, worst = angles[rates.argmax()], (rates.argmax() + 18) % 36
print(
    f"largest response at {best}°; at a right angle to it, {rates[worst] / rates.max():.0%} of that"
)
show(
    image(even, "field, theta 30°", colours="signed"),
    image(bar(size, preferred, 0.0), "bar at 30°", limits=(-1, 1)),
    curves(
        {"simple cell": (angles, rates)},
        "tuning curve",
        x_label="bar's orientation, degrees",
        y_label="response",
    ),
    alt="A field turned by 30 degrees, a bar turned alike, and a tuning curve with one narrow peak at 30 degrees.",
)

# %% [markdown]
# This is orientation selectivity, from one multiplication and one sum. But look at what else the cell demands. Keep
# the bar at its best orientation and move it sideways, across the stripes.

# %% tags=["figure"]
offsets = torch.arange(-12, 12.5, 0.5)  # (49,)
rates = simple_cell(bar(size, preferred, offsets), even)
for offset in (0.0, wavelength / 4, wavelength / 2, wavelength):
    print(f"bar moved by {offset} pixels: response {rates[offsets == offset].item():.2f}")
series = {"simple cell": (offsets, rates)}
show(
    curves(series, x_label="bar moved sideways by, pixels", y_label="response"),
    alt="The response has a tall peak at 0, a lower one a wavelength to either side, and is 0 in between.",
)

# %% [markdown]
# A shift of a quarter of a wavelength, two pixels, almost silences the cell. Its response mixes two questions: *how
# is the bar turned*, and *where is it*? From the response alone nobody can tell which of the two changed.
#
# ## Complex cells
#
# Hubel and Wiesel found a second group, the **complex** cells. These also respond to one orientation, but within
# their receptive field it does not matter where the bar lies. How can that be built?
#
# Show a grating, $I = \cos(2\pi x'/\lambda - \psi)$, to two linear fields that differ in their phase only: an even
# one, $\varphi = 0$, and an odd one, $\varphi = -\pi/2$. Here $\psi$ says where the grating's stripes lie. Write $a$
# for $2\pi x'/\lambda$. Then $\cos(a - \psi) = \cos a\cos\psi + \sin a\sin\psi$. The even field correlates with $\cos
# a$ and picks up the first part. The odd field correlates with $\sin a$ and picks up the second:
#
# $$L_{\text{even}} \approx A\cos\psi, \qquad L_{\text{odd}} \approx A\sin\psi.$$
#
# $A$ depends on contrast and orientation, but not on $\psi$. As the grating moves, the pair $(L_{\text{even}},
# L_{\text{odd}})$ runs round a circle of radius $A$. When one is zero the other is at its largest. Such fields are
# called a *quadrature pair*, and the radius is what we want, because it does not depend on the position:
#
# $$C = \sqrt{L_{\text{even}}^2 + L_{\text{odd}}^2} \approx A.$$
#
# This is the **energy model**: squaring and summing a quadrature pair, as Adelson and Bergen did for motion
# ("Spatiotemporal energy models for the perception of motion", 1985). We take the root at the end, so that doubling
# the contrast doubles the response, as it does for the simple cell. Note that the $L$ are drives *before*
# rectification: the circle runs through four quadrants, and a rectified pair is right in only one of them.

# %% [markdown]
# ### 0.7 `complex_cell` · 3 points · easy · 8 min
#
# Return the response of one complex cell to each of many images, from the drives of its two fields.


# %% nbgrader={"grade": false, "grade_id": "complex_cell", "locked": false, "schema_version": 3, "solution": true, "task": false}
def complex_cell(images: torch.Tensor, even: torch.Tensor, odd: torch.Tensor) -> torch.Tensor:
    """Root of the energy in a quadrature pair (Adelson and Bergen 1985).

    images: (..., height, width); even, odd: (height, width); floating point.
    Returns (...), of the type that all have. Gradients must flow to images.
    """
    ### BEGIN SOLUTION
    even_drive = (images * even).sum(dim=(-2, -1))
    odd_drive = (images * odd).sum(dim=(-2, -1))
    return (even_drive**2 + odd_drive**2).sqrt()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_complex_cell", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(complex_cell)
### BEGIN HIDDEN TESTS
check(complex_cell, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# First test the derivation on its own stimulus, gratings at 24 positions. If the circle is right, the complex cell's
# response does not change at all.

# %% tags=["figure"]
odd = gabor(size, preferred, wavelength, sigma, phase=-math.pi / 2)
axis = torch.arange(size) - (size - 1) / 2
across = axis * math.cos(preferred) + axis[:, None] * math.sin(preferred)
psi = torch.arange(24) * 2 * math.pi / 24
gratings = torch.cos(2 * math.pi * across / wavelength - psi[:, None, None])  # (24, 31, 31)
cells = {"simple": simple_cell(gratings, even), "complex": complex_cell(gratings, even, odd)}
Table(
    ["cell", "smallest response", "largest response"],
    [[name, f"{rates.min():.1f}", f"{rates.max():.1f}"] for name, rates in cells.items()],
)

# %% [markdown]
# Then show a bar, which is not a grating and which leaves the field in the end. Compare how much of its range each
# cell loses when the bar moves from the middle by a quarter of a wavelength. The range is the difference between a
# cell's largest and smallest response over *all* positions of the bar.

# %% tags=["figure"]
bars = bar(size, preferred, offsets)  # (49, 31, 31)
cells = {"simple cell": simple_cell(bars, even), "complex cell": complex_cell(bars, even, odd)}
before, after = offsets == 0, offsets == wavelength / 4
for name, rates in cells.items():
    lost = (rates[before] - rates[after]).item() / (rates.max() - rates.min()).item()
    print(f"{name:12} a bar moved by {wavelength / 4:g} pixels costs {lost:4.0%} of its range")
series = {name: (offsets, rates) for name, rates in cells.items()}
show(
    curves(series, x_label="bar moved sideways by, pixels", y_label="response"),
    alt="The simple cell's response has three peaks; the complex cell's is one smooth hill that touches them.",
)

# %% [markdown]
# The small shift costs the simple cell most of its range and the complex cell little. The complex cell's curve is one
# hill: it is the Gaussian bell of its field. Inside the bell it says "a bar at 30°, somewhere here".
#
# **Try it.** This is your electrode. First move the bar, a little at a time: the simple cell's tuning curve collapses
# while the complex cell's barely changes. Then put the bar back and turn it: how far may it be turned before both
# cells fall silent? Now set the simple cell's phase to −90°, which makes its field odd. Where must the bar lie to
# excite it most? Last, a question: can you find a bar to which the simple cell responds and the complex cell does
# not?


# %% tags=["helper"]
def electrode(gabor, simple_cell, complex_cell, orientation, position, phase):
    fields = [
        gabor(size, preferred, wavelength, sigma, phase=math.radians(turn))
        for turn in (phase, phase - 90)
    ]
    angles, places = torch.arange(0, 181, 5), torch.arange(-12, 12.5, 0.5)

    def answers(images):
        return {
            "simple cell": simple_cell(images, fields[0]),
            "complex cell": complex_cell(images, *fields),
        }

    def tuning(title, x_label, x, images, now):
        series = {name: (x, rates) for name, rates in answers(images).items()}
        dots = [(now, rate) for rate in answers(shown).values()]
        return curves(series, title, x_label=x_label, y_limits=(0, 55), marks=dots)

    turn = math.radians(orientation)
    shown = bar(size, turn, position)
    return Scene(
        image(shown, "on the screen", limits=(-1, 1), size=217),
        tuning(
            "turning this bar",
            "orientation, degrees",
            angles,
            bar(size, angles.deg2rad(), position),
            orientation,
        ),
        image(fields[0], "simple cell's field", colours="signed", limits=(-1, 1), size=217),
        tuning("moving this bar", "position, pixels", places, bar(size, turn, places), position),
        caption="Dots: the responses to the bar on the screen. The cells prefer 30°.",
    )


# %% tags=["widget"]
from skimage.filters import gabor_kernel


def gabor_by_skimage(size, theta, wavelength, sigma, phase=0.0, aspect=0.5):
    kernel = gabor_kernel(
        1 / wavelength, theta, sigma_x=sigma, sigma_y=sigma / aspect, offset=phase, n_stds=5
    ).real
    top, left = (kernel.shape[0] - size) // 2, (kernel.shape[1] - size) // 2
    return torch.from_numpy(
        kernel[top : top + size, left : left + size] * 2 * math.pi * sigma**2 / aspect
    ).float()


def simple_by_torch(images, field):
    return torch.tensordot(images, field, 2).clamp(min=0)


def complex_by_torch(images, even, odd):
    return torch.hypot(torch.tensordot(images, even, 2), torch.tensordot(images, odd, 2))


Lab(
    electrode,
    function=(gabor, simple_cell, complex_cell),
    fallback=(gabor_by_skimage, simple_by_torch, complex_by_torch),
    title="The electrode",
    alt="A bar, a cell's receptive field, and a simple and a complex cell's response over orientation and position.",
    orientation=Slider(0, 180, value=30, step=5, label="bar's orientation, degrees"),
    position=Slider(-12.0, 12.0, value=0.0, step=0.5, label="bar's position, pixels"),
    phase=Slider(-180, 180, value=0, step=15, label="simple cell's phase, degrees"),
)

# %% [markdown]
# The odd field responds most to a bar a quarter of a wavelength to one side, on its excitatory stripe. The bar of the
# last question does not exist: $C^2 = L_{\text{even}}^2 + L_{\text{odd}}^2$ is never smaller than
# $L_{\text{even}}^2$, so the complex cell responds at least as strongly as a simple cell of its pair. In the figure
# above its hill touches the simple cell's peaks.
#
# ## From cells to a hierarchy
#
# Hubel and Wiesel proposed that complex cells get their input from simple cells that prefer the same orientation at
# neighbouring places. The plan repeats itself. One layer selects a pattern, and the next tolerates small shifts of
# it; then patterns are combined into more specific ones, and shifts are tolerated again. Each layer looks at the
# layer below through a small window. So the receptive field grows from layer to layer, although no window does.
#
# How fast? Let a first layer of cells have fields of 9 pixels, spaced 4 pixels apart, and let a second-layer unit add
# up 3 by 3 of them. Along one axis its outermost cells lie $2 \cdot 4$ pixels apart, so the unit sees $9 + 2\cdot 4 =
# 17$ pixels. The next cell checks that by experiment: a pixel belongs to the receptive field if the gradient of the
# unit's response is not zero there.

# %% tags=["figure"]
screen = torch.randn(33, 33, generator=torch.Generator().manual_seed(0)).requires_grad_()
windows = screen.unfold(0, 9, 4).unfold(1, 9, 4)  # (7, 7, 9, 9)
pair = [gabor(9, preferred, 5.0, 2.5, phase) for phase in (0.0, -math.pi / 2)]
responses = complex_cell(windows, *pair)  # (7, 7)
slopes_of = {
    "one complex cell": torch.autograd.grad(responses[3, 3], screen, retain_graph=True)[0],
    "a unit over 3 by 3 of them": torch.autograd.grad(responses[2:5, 2:5].sum(), screen)[0],
}
for name, slopes in slopes_of.items():
    print(f"{name}: sees {int((slopes != 0).any(dim=0).sum())} pixels along a row")
show(
    *(image(slopes, name, colours="signed") for name, slopes in slopes_of.items()),
    alt="Gradients on a 33 by 33 screen: a square of 9 pixels for one cell, one of 17 pixels for the unit above.",
)

# %% [markdown]
# ### A sheet of cells
#
# One cell watches one place. The cortex has such cells for every part of the view. Put the same complex cell at every
# position of a photograph, and its responses form an image again, a *map* of where its orientation occurs. Each cell
# sees its window as contrast with the window's mean.

# %% tags=["figure"]
pagoda = data.photographs("china", size=(96, 144))["china"].mean(dim=0)  # (96, 144)
windows = pagoda.unfold(0, 9, 1).unfold(1, 9, 1)  # (88, 136, 9, 9)
windows = windows - windows.mean(dim=(-2, -1), keepdim=True)
maps = {}
for degrees in (0, 45, 90, 135):
    pair = [gabor(9, math.radians(degrees), 5.0, 2.5, phase) for phase in (0.0, -math.pi / 2)]
    maps[f"theta {degrees}°"] = complex_cell(windows, *pair)  # (88, 136)
show(
    image(pagoda, "a photograph"),
    *(image(responses, title, colours="heat", limits=(0, 5)) for title, responses in maps.items()),
    alt="A pagoda and four maps: vertical edges light up at 0 degrees, roofs at 90, slopes at 45 and 135.",
)

# %% [markdown]
# Vertical edges light up at 0°, the horizontal edges of the roofs at 90°, and slopes at 45° and 135°. Each map says
# one thing about every place.
#
# A convolutional network follows this plan, with fields that are learned instead of designed. Unit 01 defines exactly
# how one field slides over an image. Unit 02 measures tolerance to shifts, and how receptive fields grow. The unit on
# classic networks shows the Neocognitron, which copied simple and complex cells layer by layer.

# %% [markdown] nbgrader={"grade": false, "grade_id": "about_question_tolerance", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ### Question 2 · 2 points
#
# A complex cell's response hardly changes when the bar moves by a quarter of a wavelength. What has the cell thrown
# away that the pair of simple cells still had? Name one of the four tasks above that suffers from this and one that
# profits, and say how a network could have both.

# %% [markdown] nbgrader={"grade": true, "grade_id": "question_tolerance", "locked": false, "points": 2, "schema_version": 3, "solution": true, "task": false}
# It has thrown away the phase: the angle of the point $(L_{\text{even}}, L_{\text{odd}})$ on its circle, which says
# where inside the field the bar lies, and whether it is brighter or darker than its surroundings. Only the radius is
# left. Tasks that need exact places suffer: segmentation has to draw the border at the right pixel, and boxes need
# exact edges too. Classification profits, because the class of an object does not depend on where in the field its
# edge lies. A network can have both by keeping the responses from before the pooling and handing them to the layers
# that draw masks, or by having many such cells with overlapping fields: their joint responses still tell the place.

# %% [markdown]
# ## What does this neuron like to see?
#
# So far you chose the parameters and watched the cell. An experimenter has the opposite problem: the cell is given,
# its responses are recorded, and the question is what it prefers. Jones and Palmer answered it by fitting the Gabor
# formula with least squares. You can do the same with your own functions, by gradient descent: that is why gradients
# had to flow through `gabor`.
#
# Our neuron is simulated. It has an orientation, a wavelength, a width and a phase that are drawn at random, and
# its responses are disturbed by noise of half their own spread. It is shown images of noise, in which every pixel
# is drawn independently, so that no orientation is favoured.

# %% tags=["training"]
torch.set_num_threads(1)  # handing such small tensors to several threads costs more than it saves
plan = budget(
    smoke=dict(steps=40, trials=100),
    cpu=dict(steps=300, trials=400),
    gpu=dict(steps=1000, trials=4000),
)
generator = torch.Generator().manual_seed(0)


def between(low, high):
    return low + (high - low) * torch.rand((), generator=generator)


truth = dict(
    theta=between(0, math.pi), wavelength=between(5, 9), sigma=between(2.5, 4), phase=between(-3, 3)
)
true_field = gabor(17, **truth)
noise_images = torch.randn(2 * plan.trials, 17, 17, generator=generator)
clean = simple_cell(noise_images, true_field)
recorded = clean + 0.5 * clean.std() * torch.randn(2 * plan.trials, generator=generator)
seen, held_out = slice(0, plan.trials), slice(plan.trials, None)

# %% [markdown]
# The first half of the trials is for fitting. The second half is held out, to test whether what was found predicts
# responses that it was not fitted to.
#
# First a baseline. Experimenters often average the images, each weighted by how much more or less than usual the cell
# responded to it. The pattern that excites the cell stays, and the rest averages out. This *reverse correlation*
# assumes nothing about the field: it estimates each of the $17 \cdot 17 = 289$ weights on its own. The Gabor formula
# claims that four numbers are enough. (We take the middle of the field, its aspect and its strength as known.)
#
# The loss is the mean squared difference between predicted and recorded responses, as a share of the variance of the
# recorded ones: 1 is as good as always predicting the mean. This loss is not convex in $\theta$. A guess at a right
# angle to the truth overlaps so little with it that the gradient says nothing useful. So we start from six
# orientations at once and keep the one that fits the *seen* trials best. Wavelength and width are kept positive by
# learning their logarithms.

# %% tags=["training"]
images, target = noise_images[seen].to(plan.device), recorded[seen].to(plan.device)


def parameters(guess):
    theta, log_wavelength, log_sigma, phase = guess
    return dict(theta=theta, wavelength=log_wavelength.exp(), sigma=log_sigma.exp(), phase=phase)


def loss_of(guess):
    predicted = simple_cell(images, gabor(17, **parameters(guess)).to(plan.device))
    return ((predicted - target) ** 2).mean() / target.var()


starts = [torch.tensor([k * math.pi / 6, math.log(7.0), math.log(3.0), 0.0]) for k in range(6)]
guesses = [start.clone().requires_grad_() for start in starts]
optimizer = torch.optim.Adam(guesses, lr=0.05)
for _ in plan.progress(range(plan.steps)):
    losses = torch.stack([loss_of(guess) for guess in guesses])  # (6,)
    optimizer.zero_grad()
    losses.sum().backward()
    optimizer.step()

# %% [markdown]
# The next cell compares every start with its end. A field turned by 180°, with the opposite sign of its phase, is the
# same field, so orientations are compared up to half a turn.


# %% tags=["training"]
def degrees_off(guess):
    off = (guess[0] - truth["theta"]).item()
    return math.degrees(abs((off + math.pi / 2) % math.pi - math.pi / 2))


with torch.no_grad():
    before, after = (torch.stack([loss_of(guess) for guess in some]) for some in (starts, guesses))
fits = []
for k, guess in enumerate(guesses):
    off_before, off_after = degrees_off(starts[k]), degrees_off(guess)
    fits.append([f"{off_before:.1f}", f"{off_after:.1f}", f"{before[k]:.2f}", f"{after[k]:.2f}"])
Table(
    ["degrees, start", "degrees, end", "loss, start", "loss, end"],
    fits,
    caption="Degrees by which the orientation is off, and loss",
)

# %% tags=["training"]
best = int(after.argmin())
at_start, found = parameters(starts[best]), parameters(guesses[best])
Table(
    ["best fit, in pixels", "true", "start", "found"],
    [
        [name, f"{truth[name]:.2f}", f"{at_start[name]:.2f}", f"{found[name]:.2f}"]
        for name in ("wavelength", "sigma")
    ],
)

# %% [markdown]
# The ends fall into two groups. Some starts reach the same small loss and the same orientation. The others are stuck
# in a local minimum with a loss of more than 1, worse than predicting a constant. No gradient leads out of it; only
# another start helps. With fewer steps the groups are less clear.
#
# Now the held-out trials. The number is the correlation between predicted and recorded responses. The guess in the
# first line is the one that the best fit started from. The last line is the true cell without its noise. Because of
# the noise, no method can do much better than that.


# %% tags=["training"]
def correlation(predicted):
    return torch.corrcoef(torch.stack([predicted, recorded[held_out]]))[0, 1].item()


weights = recorded[seen] - recorded[seen].mean()
average = (weights[:, None, None] * noise_images[seen]).mean(dim=0)  # (17, 17)
start_field = gabor(17, **parameters(starts[best].detach()))
found_field = gabor(17, **parameters(guesses[best].detach()))
fields = {
    "starting guess": start_field,
    "reverse correlation": average,
    "fitted Gabor": found_field,
}
fields["true cell"] = true_field
for name, field in fields.items():
    print(
        f"{name:20} correlation on held-out trials {correlation(simple_cell(noise_images[held_out], field)):5.2f}"
    )
show(
    *(image(field, name, colours="signed") for name, field in fields.items()),
    alt="Four fields: the starting guess, a grainy average, and the fitted and the true Gabor, which look alike.",
)

# %% [markdown]
# Both methods saw the same trials. Reverse correlation finds the stripes, but under a grain of noise, because it had
# 289 numbers to estimate. The fitted Gabor predicts new responses nearly as well as the true cell does. It can,
# because its four numbers describe the right family of fields. If the cell were not a Gabor, the average would still
# show its field, and the fit would give the best field of the wrong family, without any warning. An assumption about
# the result replaces data when it is true, and misleads when it is not. You will meet this trade-off again in every
# unit, from the weight sharing of a convolution to the transformer, which does without it.
#
# **Try it.** Set `trials=100` or `trials=2000` in the plan that the training cell named (`cpu` or `gpu`) and run the
# training cells again. Which of the two methods gains more from data? Another seed in `manual_seed` gives you
# another neuron.
#
# ## What you have now
#
# - An image is a tensor of floats, channels first; the axes have to be moved, not reshaped.
# - Four tasks, four shapes of output; from instances you can compute semantic masks and boxes, and not the other way
#   round.
# - IoU compares boxes strictly. It is 0 for all boxes that do not meet, near or far.
# - A simple cell is a weighted sum and a ReLU: selective for orientation and for position. A complex cell is the
#   length of a quadrature pair: selective for orientation, tolerant to position.
# - Layers that select and layers that tolerate shifts, in turns, make receptive fields grow. A convolutional network
#   learns its fields, as you learned one here, by gradient descent through the function that uses them.
