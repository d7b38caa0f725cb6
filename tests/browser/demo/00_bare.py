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
# # A widget with nothing of the course in it
#
# What JupyterLab, the kernel and the browser take by themselves for one round: the yardstick of
# this machine.

# %% tags=["setup"]
import anywidget
import traitlets

# %% tags=["helper"]
SCRIPT = """
export default {
  render({ model, el }) {
    const root = document.createElement("div");
    root.className = "cvlab"; // named and marked as a lab is, so that the same clock measures both
    root.innerHTML = `<label data-control="level">
      <input type="range" min="0" max="12" step="1" value="6" aria-label="level" data-lm-suppress-shortcuts="true">
      </label><canvas width="300" height="300"></canvas>`;
    el.append(root);
    const [input, canvas] = [root.querySelector("input"), root.querySelector("canvas")];
    input.addEventListener("input", () => {
      model.set("values", { level: Number(input.value) });
      model.save_changes();
    });
    const draw = () => {
      const { level, pixels } = model.get("scene");
      const bytes = new Uint8ClampedArray(pixels.buffer, pixels.byteOffset, pixels.byteLength);
      canvas.getContext("2d").putImageData(new ImageData(bytes, 64, 64), 8 * level, 0);
      Object.assign(root.dataset, { values: JSON.stringify({ level }), failed: "false" });
      root.dataset.drawn = String(Number(root.dataset.drawn || 0) + 1);
    };
    model.on("change:scene", draw);
    draw();
  },
};
"""


class Bare(anywidget.AnyWidget):
    """A slider whose value goes to the kernel, and a grey square of that level that comes back."""

    _esm = SCRIPT
    values = traitlets.Dict({"level": 6}).tag(sync=True)
    scene = traitlets.Dict().tag(sync=True)

    def __init__(self):
        super().__init__(scene=self.square(6))
        self.observe(
            lambda change: self.set_trait("scene", self.square(change["new"]["level"])), "values"
        )

    def square(self, level):
        return {"level": level, "pixels": bytes([20 * level] * 3 + [255]) * 64 * 64}


# %% tags=["widget"]
Bare()
