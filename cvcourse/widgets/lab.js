// The browser side of a lab: draws the controls once, and the panels each time the kernel sends a
// scene. All colours of data come from Python (colours.py); colours of text and lines come from the
// page's theme (lab.css).

export default {
  render({ model, el }) {
    const spec = model.get("spec");
    const root = append(el, "div", "cvlab");
    root.setAttribute("role", "group");
    root.setAttribute("aria-label", spec.title || spec.alt || "interactive picture");
    if (spec.title) append(root, "div", "cvlab-title", spec.title);
    const body = append(root, "div", "cvlab-body");

    const send = (name, value) => {
      model.set("values", { ...model.get("values"), [name]: value });
      model.save_changes();
    };
    const pointers = spec.controls.filter((control) => typeof control.panel === "number");
    const controls = drawControls(body, spec.controls, send);
    const place = append(body, "div", "cvlab-stage");
    const stage = new Stage(place, spec.alt, pointers, send, () => model.get("values"));

    const showValues = () => controls.forEach(({ name, show }) => show(model.get("values")[name]));
    const drawScene = () => {
      const scene = model.get("scene");
      stage.draw(scene);
      // For tests: the values this picture was drawn for, whether it failed, how many there were.
      root.dataset.values = JSON.stringify(scene.values);
      root.dataset.failed = String(scene.failed);
      root.dataset.drawn = String(Number(root.dataset.drawn || 0) + 1);
    };
    const repaint = () => requestAnimationFrame(() => stage.paint());

    model.on("change:values", showValues);
    model.on("change:scene", drawScene);
    const theme = new MutationObserver(repaint);
    theme.observe(document.body, {
      attributes: true,
      attributeFilter: ["data-jp-theme-name", "data-jp-theme-light"],
    });
    // Comes also when the page moves to a screen of another density.
    window.addEventListener("resize", repaint);
    showValues();
    drawScene();
    requestAnimationFrame(repaint); // the style sheet may have arrived after the first drawing

    return () => {
      model.off("change:values", showValues);
      model.off("change:scene", drawScene);
      theme.disconnect();
      window.removeEventListener("resize", repaint);
    };
  },
};

// Elements ----------------------------------------------------------------------------------------

function append(parent, tag, name = "", text = "") {
  const node = document.createElement(tag);
  // JupyterLab's one-key commands would swallow arrow keys and letters; it looks for this on the
  // focused element itself.
  const focusable = ["input", "select", "canvas", "button"].includes(tag);
  if (focusable) node.dataset.lmSuppressShortcuts = "true";
  if (name) node.className = name;
  if (text) node.textContent = text;
  parent.append(node);
  return node;
}

/**
 * Text with words between backticks set as code. Only ever as text: nothing a learner prints
 * becomes markup.
 */
function setText(node, text) {
  if (node.dataset.text === text) return;
  node.dataset.text = text;
  node.replaceChildren();
  text.split("`").forEach((part, k) => {
    if (k % 2) append(node, "code", "", part);
    else node.append(part);
  });
}

// Controls ----------------------------------------------------------------------------------------

/** Draws every control that has a place of its own; returns [{name, show(value)}]. */
function drawControls(body, controls, send) {
  const makers = { slider: makeSlider, choice: makeChoice, toggle: makeToggle, grid: makeGrid };
  Object.assign(makers, { field: makeField, prompts: makePrompts });
  const placed = controls.filter((control) => control.kind in makers);
  if (!placed.length) return [];
  const panel = append(body, "div", "cvlab-controls");
  return placed.map((control) => {
    // Several things to press: no label of one of them.
    const grouped = ["grid", "prompts"].includes(control.kind);
    const row = append(panel, grouped ? "div" : "label", `cvlab-control cvlab-${control.kind}`);
    row.dataset.control = control.name;
    append(row, "span", "cvlab-label", control.label);
    const show = makers[control.kind](row, control, (value) => send(control.name, value));
    return { name: control.name, show };
  });
}

function makeSlider(row, { low, high, step, decimals, label }, send) {
  const said = append(row, "output", "cvlab-value");
  const input = append(row, "input");
  Object.assign(input, { type: "range", min: low, max: high, step });
  input.setAttribute("aria-label", label);
  const show = (value) => {
    input.value = value;
    said.textContent = Number(value).toFixed(decimals).replace("-", "−");
    input.style.setProperty("--share", `${((value - low) / (high - low)) * 100}%`);
  };
  input.addEventListener("input", () => {
    show(Number(input.value));
    send(Number(input.value));
  });
  return show;
}

function makeChoice(row, { options, label }, send) {
  const select = append(row, "select");
  select.setAttribute("aria-label", label);
  options.forEach((option) => (append(select, "option", "", option).value = option));
  select.addEventListener("change", () => send(select.value));
  return (value) => (select.value = value);
}

function makeToggle(row, { label }, send) {
  const box = append(row, "input");
  box.type = "checkbox";
  box.setAttribute("aria-label", label);
  box.addEventListener("change", () => send(box.checked));
  return (value) => (box.checked = value);
}

function makeGrid(row, { shape: [rows, columns], step, label }, send) {
  const table = append(row, "div", "cvlab-cells");
  table.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 3.4em))`;
  const cells = Array.from({ length: rows * columns }, (_, k) => {
    const cell = append(table, "input");
    Object.assign(cell, { type: "number", step: "any" });
    const [row, column] = [Math.floor(k / columns), k % columns];
    cell.setAttribute("aria-label", `${label}, row ${row}, column ${column}`);
    return cell;
  });
  const change = () => {
    // An empty or half-typed cell is not a number yet: wait for the rest of it.
    if (cells.some((cell) => !Number.isFinite(cell.valueAsNumber))) return;
    const numbers = cells.map((cell) => cell.valueAsNumber);
    send(Array.from({ length: rows }, (_, r) => numbers.slice(r * columns, (r + 1) * columns)));
  };
  cells.forEach((cell) => {
    cell.addEventListener("input", change);
    cell.addEventListener("keydown", (event) => {
      const direction = { ArrowUp: 1, ArrowDown: -1 }[event.key];
      if (!direction || !Number.isFinite(cell.valueAsNumber)) return;
      event.preventDefault();
      cell.value = Math.round((cell.valueAsNumber + direction * step) * 1e6) / 1e6;
      change();
    });
  });
  return (value) =>
    cells.forEach((cell, k) => {
      const wanted = value[Math.floor(k / columns)][k % columns];
      // Not where the reader types: "1." must not be corrected to "1" under their fingers.
      const typing = cell === cell.ownerDocument.activeElement;
      if (cell.valueAsNumber !== wanted && !typing) cell.value = wanted;
    });
}

function makeField(row, { hint, label }, send) {
  const input = append(row, "input");
  Object.assign(input, { type: "text", placeholder: hint, spellcheck: false });
  input.setAttribute("aria-label", label);
  input.addEventListener("change", () => send(input.value)); // comes on leaving the field
  input.addEventListener("keydown", (event) => event.key === "Enter" && send(input.value));
  return (value) => input !== input.ownerDocument.activeElement && (input.value = value);
}

/** Undo, reset, and what a plain click means; the marks are made in the picture (Marking). */
function makePrompts(row, control, send) {
  let marks = [];
  const said = append(row, "output", "cvlab-value");
  const buttons = append(row, "div", "cvlab-buttons");
  const [undo, reset] = ["undo", "reset"].map((name) => append(buttons, "button", "", name));
  undo.addEventListener("click", () => send(marks.slice(0, -1)));
  reset.addEventListener("click", () => send([]));
  append(row, "div", "cvlab-help", "Click: the object. Shift-click: not part of it. Drag: a box.");
  const swap = append(row, "label", "cvlab-help"); // for fingers and pens, which have no shift key
  const box = append(swap, "input");
  box.type = "checkbox";
  swap.append(" a click marks what is not part of it");
  control.negative = () => box.checked;
  return (value) => {
    marks = value;
    undo.disabled = reset.disabled = !marks.length;
    const points = marks.filter(([kind]) => kind === "point");
    const on = points.filter((mark) => mark[3] === 1).length;
    const off = points.length - on;
    const boxed = marks.length > points.length;
    const signs = [on && `${on} +`, off && `${off} −`, boxed && "□"];
    said.textContent = signs.filter(Boolean).join(", ");
    const words = `${on} positive, ${off} negative, ${boxed ? "a" : "no"} box`;
    said.setAttribute("aria-label", words);
  };
}

// The stage: panels, caption, notes ---------------------------------------------------------------

class Stage {
  constructor(node, alt, pointers, send, values) {
    Object.assign(this, { node, alt, pointers, send, values });
    this.panels = append(node, "div", "cvlab-panels");
    this.texts = append(node, "div", "cvlab-texts");
    this.caption = append(node, "div", "cvlab-caption");
    this.notes = append(node, "div", "cvlab-notes");
    this.notes.setAttribute("aria-live", "polite");
    this.printed = append(node, "pre", "cvlab-printed");
    this.frames = [];
    this.kinds = "";
  }

  draw(scene) {
    this.scene = scene;
    const kinds = scene.panels.map((panel) => panel.kind).join();
    if (kinds !== this.kinds) this.build(scene, kinds);
    this.node.classList.toggle("cvlab-stale", scene.failed);
    setText(this.caption, scene.caption);
    const texts = scene.panels.filter((panel) => panel.kind === "text");
    setText(this.texts, texts.map((panel) => panel.content).join("\n"));
    this.showNotes(scene.notes);
    this.printed.textContent = scene.printed && `printed: ${scene.printed}`;
    this.paint();
  }

  /** Replaces the notes only where they change: a screen reader reads every replaced one aloud. */
  showNotes(notes) {
    const key = notes.map((note) => `${note.kind}:${note.text}`).join("\n");
    if (this.notes.dataset.notes === key) return;
    this.notes.dataset.notes = key;
    this.notes.replaceChildren();
    for (const { kind, text } of notes) {
      setText(append(this.notes, "div", `cvlab-note cvlab-${kind}`), text);
    }
  }

  /** Frames keep the size of the first scene: nothing on the page moves while a control does. */
  build({ panels, columns }, kinds) {
    this.kinds = kinds;
    this.panels.replaceChildren();
    const widest = Math.max(0, ...panels.map((panel) => panel.width));
    this.panels.style.maxWidth = columns ? `${columns * (widest + 24)}px` : "";
    const titled = panels.some((panel) => panel.title || panel.remark);
    this.panels.classList.toggle("cvlab-untitled", !titled);
    this.frames = panels.map((panel, index) => this.frame(panel, index));
  }

  /** The place of a panel; null for a text, which stands below all panels. */
  frame(panel, index) {
    if (panel.kind === "text") return null;
    const figure = append(this.panels, "figure", "cvlab-panel");
    figure.style.width = `${panel.width}px`;
    const head = append(figure, "figcaption");
    const frame = { width: panel.width, height: panel.height };
    frame.title = append(head, "span", "cvlab-name");
    frame.remark = append(head, "span", "cvlab-remark");
    if (panel.kind === "curves") frame.names = append(figure, "div", "cvlab-names");
    const canvas = append(figure, "canvas");
    canvas.style.aspectRatio = `${panel.width} / ${panel.height}`;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", [panel.title, this.alt].filter(Boolean).join(". "));
    if (panel.kind === "image") frame.legend = append(figure, "div", "cvlab-legend");
    frame.canvas = canvas;
    this.pointers
      .filter((control) => control.panel === index)
      .forEach((control) => this.listen(canvas, control, index));
    return frame;
  }

  /** Makes a control that points into this panel answer. */
  listen(canvas, control, index) {
    if (control.kind === "pointer") this.follow(canvas, control, index);
    if (control.kind === "choice") this.pick(canvas, control, index);
    if (control.kind === "prompts") new Marking(this, canvas, control, index);
  }

  /** (row, column) of the image's pixel under the mouse; outside the image, of the nearest. */
  pixelAt(canvas, index, event) {
    const { left, top, width } = canvas.getBoundingClientRect();
    const [frame, { shape }] = [this.frames[index], this.scene.panels[index]];
    const place = placeOf(shape, frame.width, frame.height);
    const zoom = frame.width / width; // a narrow page shows the canvas smaller
    const down = (event.clientY - top) * zoom - place.top;
    const across = (event.clientX - left) * zoom - place.left;
    return [down, across].map((pixel, axis) => clip(Math.floor(pixel / place.scale), shape[axis]));
  }

  /** A press on one of the equal parts of a picture chooses the option it shows; see Choice. */
  pick(canvas, { name, options }, index) {
    canvas.classList.add("cvlab-picked");
    canvas.addEventListener("pointerdown", (event) => {
      const share = this.pixelAt(canvas, index, event)[0] / this.scene.panels[index].shape[0];
      const option = options[1 + Math.floor(share * (options.length - 1))];
      this.send(name, option === this.values()[name] ? options[0] : option);
    });
  }

  /** Sends (row, column) of the image's pixel under the mouse, or one arrow key further. */
  follow(canvas, pointer, index) {
    const shape = () => this.scene.panels[index].shape;
    const move = (row, column) => {
      const at = [clip(row, shape()[0]), clip(column, shape()[1])];
      const [r, c] = this.values()[pointer.name];
      if (at[0] !== r || at[1] !== c) this.send(pointer.name, at);
    };
    const moveTo = (event) => move(...this.pixelAt(canvas, index, event));
    canvas.tabIndex = 0;
    canvas.classList.add("cvlab-pointed");
    canvas.addEventListener("keydown", (event) => {
      if (!(event.key in STEPS)) return;
      event.preventDefault();
      const [row, column] = this.values()[pointer.name];
      const [down, across] = STEPS[event.key];
      move(row + down, column + across);
    });
    canvas.addEventListener("pointerdown", (event) => {
      if (pointer.on === "drag") canvas.setPointerCapture(event.pointerId);
      moveTo(event);
    });
    if (pointer.on === "press") return;
    // A finger drags the pointer, not the page.
    if (pointer.on === "drag") canvas.style.touchAction = "none";
    canvas.addEventListener("pointermove", (event) => {
      if (pointer.on === "hover" || event.buttons) moveTo(event);
    });
  }

  /** All canvases in one go, within one frame of the browser: no flicker. */
  paint() {
    const theme = themeOf(this.node);
    this.frames.forEach((frame, index) => {
      if (frame) this.paintPanel(frame, this.scene.panels[index], theme);
    });
  }

  paintPanel(frame, panel, theme) {
    const { canvas, width, height } = frame;
    setText(frame.title, panel.title);
    frame.title.title = panel.title;
    setText(frame.remark, panel.remark || "");
    if (frame.names) setNames(frame.names, panel.series);
    if (frame.legend) setLegend(frame.legend, panel.legend);
    const density = window.devicePixelRatio || 1;
    const [wide, tall] = [width, height].map((side) => Math.round(side * density));
    if (canvas.width !== wide || canvas.height !== tall) {
      [canvas.width, canvas.height] = [wide, tall]; // also clears it, so only when needed
    }
    const ctx = canvas.getContext("2d");
    ctx.setTransform(density, 0, 0, density, 0, 0);
    ctx.clearRect(0, 0, width, height);
    const paintKind = { image: paintImage, curves: paintCurves, bars: paintBars }[panel.kind];
    paintKind(ctx, panel, width, height, theme);
    if (!frame.sketch) return;
    const { scale } = placeOf(panel.shape ?? [1, 1], width, height);
    paintSketch(ctx, frame.sketch, scale);
  }
}

// Marks in a picture: clicks and boxes; see Prompts -----------------------------------------------

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const MARKING_HELP =
  "Click to mark the object; shift-click what is not part of it; drag a box. " +
  "Keys: arrows and space, B, backspace, escape.";
const DRAGGED = 5; // CSS pixels, from which on a press and a release are a box and no click

/**
 * Makes marks in one picture of a stage. What is being drawn right now, a box or the keyboard's
 * cursor, lies in frame.sketch and never leaves the browser.
 */
class Marking {
  constructor(stage, canvas, control, index) {
    Object.assign(this, { stage, canvas, control, index });
    this.start = null; // of a press: the pixel, the place on the screen, whether it is a box by now
    canvas.tabIndex = 0;
    canvas.classList.add("cvlab-pointed");
    canvas.style.touchAction = "none"; // a finger draws a box, not the page
    canvas.setAttribute("aria-label", `${canvas.getAttribute("aria-label")} ${MARKING_HELP}`);
    this.on("contextmenu", this.keep);
    this.on("pointerdown", this.press);
    this.on("pointermove", this.drag);
    this.on("pointerup", this.release);
    this.on("pointercancel", this.cancel);
    this.on("keydown", this.type);
    this.on("blur", this.leave);
  }

  on(kind, answer) {
    this.canvas.addEventListener(kind, (event) => answer.call(this, event));
  }

  get frame() {
    return this.stage.frames[this.index];
  }

  get shape() {
    return this.stage.scene.panels[this.index].shape;
  }

  get marks() {
    return this.stage.values()[this.control.name];
  }

  /** Where the keyboard's cursor is; at first in the middle. */
  get cursor() {
    return this.frame.sketch?.cursor ?? this.shape.map((side) => Math.floor(side / 2));
  }

  pixelAt(event) {
    return this.stage.pixelAt(this.canvas, this.index, event);
  }

  send(marks) {
    this.stage.send(this.control.name, marks);
  }

  /** swapped: with the shift key or the right button, which turn the sign of a click. */
  addPoint(at, swapped) {
    const positive = swapped === this.control.negative();
    this.send([...this.marks, ["point", ...at, Number(positive)]]);
  }

  addBox(corner, opposite) {
    this.send([...this.marks, ["box", ...boxOf(corner, opposite)]]);
  }

  /** Replaces what is being drawn; the cursor stays where it is unless `change` says more. */
  sketch(change) {
    this.frame.sketch = { cursor: this.frame.sketch?.cursor, ...change };
    this.stage.paint();
  }

  /** The page's own menu stays away: the right button marks what is not part of the object. */
  keep(event) {
    event.preventDefault();
    event.stopPropagation();
  }

  // With the mouse, a finger or a pen

  press(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.start = { at: this.pixelAt(event), x: event.clientX, y: event.clientY, boxed: false };
  }

  drag(event) {
    if (!this.start || !event.buttons) return;
    const { at, x, y } = this.start;
    this.start.boxed ||= Math.hypot(event.clientX - x, event.clientY - y) > DRAGGED;
    if (this.start.boxed) this.sketch({ cursor: null, box: boxOf(at, this.pixelAt(event)) });
  }

  release(event) {
    if (!this.start) return;
    const { at, boxed } = this.start;
    this.start = null;
    if (boxed) {
      this.sketch({ cursor: null });
      this.addBox(at, this.pixelAt(event));
    } else {
      this.addPoint(at, event.shiftKey || event.button === 2);
    }
  }

  cancel() {
    this.start = null;
    this.sketch({});
  }

  // From the keyboard

  type(event) {
    if (event.key in STEPS) this.moveCursor(STEPS[event.key]);
    else if (event.key === " ") this.addPoint(this.cursor, event.shiftKey);
    else if (event.key.toLowerCase() === "b") this.setCorner();
    else if (event.key === "Backspace") this.send(this.marks.slice(0, -1));
    else if (event.key === "Escape") this.clear();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** A key press moves as far in pictures of every size. */
  moveCursor(step) {
    const far = Math.max(1, Math.round(this.shape[0] / 32));
    const cursor = this.cursor.map((at, axis) => clip(at + far * step[axis], this.shape[axis]));
    const corner = this.frame.sketch?.corner;
    this.sketch({ cursor, corner, box: corner && boxOf(corner, cursor) });
  }

  /** The first corner of a box, or the one opposite, which finishes it. */
  setCorner() {
    const [cursor, corner] = [this.cursor, this.frame.sketch?.corner];
    if (corner) {
      this.sketch({ cursor });
      this.addBox(corner, cursor);
    } else {
      this.sketch({ cursor, corner: cursor, box: boxOf(cursor, cursor) });
    }
  }

  clear() {
    this.sketch({ cursor: this.cursor });
    this.send([]);
  }

  leave() {
    this.sketch({ cursor: null });
  }
}

function themeOf(node) {
  const style = getComputedStyle(node);
  const read = (name, other) => style.getPropertyValue(name).trim() || other;
  return {
    ink: read("--cv-ink", "#222"),
    muted: read("--cv-muted", "#666"),
    line: read("--cv-line", "#ccc"),
    ground: read("--cv-ground", "#fff"),
    font: style.fontFamily || "sans-serif",
  };
}

function setNames(node, series) {
  const key = JSON.stringify(series.map(({ name, colour, dash }) => [name, colour, dash]));
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  node.replaceChildren();
  for (const { name, colour, dash } of series.filter((line) => line.name)) {
    const entry = append(node, "span", "cvlab-entry");
    const [on, off, on2 = on, off2 = off] = dash.length ? dash : [22, 0];
    const stops = [on, off, on2, off2].reduce((all, part) => [...all, all.at(-1) + part], [0]);
    const inks = [colour, "transparent", colour, "transparent"];
    const stripes = inks.map((ink, k) => `${ink} ${stops[k]}px ${stops[k + 1]}px`);
    const gradient = `repeating-linear-gradient(to right, ${stripes.join(", ")})`;
    append(entry, "i").style.background = gradient;
    entry.append(name);
  }
}

function setLegend(node, legend) {
  const key = JSON.stringify(legend);
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  node.replaceChildren();
  if (!legend) return;
  append(node, "span", "", legend.low);
  append(node, "i").style.background = `linear-gradient(to right, ${legend.stops.join(", ")})`;
  append(node, "span", "", legend.high);
}

// Drawing on a canvas -----------------------------------------------------------------------------

/** Bytes from the kernel, as float32; copied, because they may lie at an odd address. */
function floats(view) {
  return new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

function clip(value, size) {
  return Math.min(size - 1, Math.max(0, value));
}

/** (row, column, height, width) of the box that holds two pixels. */
function boxOf(one, other) {
  const corner = one.map((place, axis) => Math.min(place, other[axis]));
  return [...corner, ...one.map((place, axis) => Math.abs(place - other[axis]) + 1)];
}

/** Where an image of `shape` lies in its canvas: as large as fits, from the upper left corner. */
function placeOf([rows, columns], width, height) {
  return { left: 0, top: 0, scale: Math.min(width / columns, height / rows) };
}

function paintImage(ctx, panel, width, height, theme) {
  const [rows, columns] = panel.shape;
  const [sentRows, sentColumns] = panel.sent;
  const { scale } = placeOf(panel.shape, width, height);
  const [wide, tall] = [columns * scale, rows * scale];
  const { buffer, byteOffset, byteLength } = panel.data;
  const pixels = new Uint8ClampedArray(buffer, byteOffset, byteLength);
  const source = document.createElement("canvas");
  [source.width, source.height] = [sentColumns, sentRows];
  source.getContext("2d").putImageData(new ImageData(pixels, sentColumns, sentRows), 0, 0);
  ctx.imageSmoothingEnabled = sentColumns > wide * 2; // sharp, unless more than can be shown
  ctx.drawImage(source, 0, 0, wide, tall);
  ctx.lineWidth = 1;
  ctx.strokeStyle = theme.line;
  ctx.strokeRect(0.5, 0.5, wide - 1, tall - 1);
  const readable = scale >= 20 && sentColumns === columns;
  if (panel.numbers && readable) paintNumbers(ctx, panel.numbers, pixels, scale, theme);
  ctx.save();
  ctx.beginPath();
  ctx.rect(0, 0, wide, tall);
  ctx.clip();
  panel.boxes.forEach((box) => paintBox(ctx, box, scale, theme));
  panel.points.forEach((point) => paintPoint(ctx, point, scale, theme));
  ctx.restore();
}

function paintBox(ctx, { at: [row, column, high, broad], label, colour }, scale, theme) {
  const [left, top] = [column * scale, row * scale];
  for (const [ink, thick] of [["#fff", 4], [colour, 2]]) {
    [ctx.strokeStyle, ctx.lineWidth] = [ink, thick];
    ctx.strokeRect(left + 1, top + 1, broad * scale - 2, high * scale - 2);
  }
  if (!label) return;
  ctx.font = `600 10.5px ${theme.font}`;
  ctx.fillStyle = colour;
  ctx.fillRect(left, top, ctx.measureText(label).width + 8, 15);
  write(ctx, label, left + 4, top + 8, "#fff", "left");
}

function paintPoint(ctx, { at: [row, column], colour, said }, scale, theme) {
  const [x, y] = [(column + 0.5) * scale, (row + 0.5) * scale];
  ctx.beginPath();
  ctx.arc(x, y, said ? 7.5 : 4.5, 0, 7);
  [ctx.fillStyle, ctx.strokeStyle, ctx.lineWidth] = [colour, "#fff", 1.5];
  ctx.fill();
  ctx.stroke();
  ctx.font = `700 13px ${theme.font}`;
  if (said) write(ctx, said, x, y + 0.5, "#fff", "center");
}

/** A box while it is being drawn, and the place of the keyboard's cursor. */
function paintSketch(ctx, { box, cursor }, scale) {
  for (const [ink, dash] of [["#000", []], ["#fff", [5, 4]]]) {
    [ctx.strokeStyle, ctx.lineWidth] = [ink, 1.5];
    ctx.setLineDash(dash);
    if (box) ctx.strokeRect(box[1] * scale, box[0] * scale, box[3] * scale, box[2] * scale);
    if (!cursor) continue;
    const [x, y] = [(cursor[1] + 0.5) * scale, (cursor[0] + 0.5) * scale];
    ctx.beginPath();
    for (const [dx, dy] of [[9, 0], [0, 9]]) {
      ctx.moveTo(x - dx, y - dy);
      ctx.lineTo(x + dx, y + dy);
    }
    ctx.stroke();
  }
  ctx.setLineDash([]);
}

function paintNumbers(ctx, numbers, pixels, scale, theme) {
  const longest = Math.max(1, ...numbers.flat().map((number) => number.length));
  ctx.font = `${Math.min(13, scale * 0.45, (1.5 * scale) / longest)}px ${theme.font}`;
  numbers.forEach((line, row) =>
    line.forEach((number, column) => {
      const k = 4 * (row * line.length + column);
      const light = 0.299 * pixels[k] + 0.587 * pixels[k + 1] + 0.114 * pixels[k + 2] > 140;
      const [x, y] = [(column + 0.5) * scale, (row + 0.5) * scale];
      write(ctx, number, x, y, light ? "#111" : "#fff", "center");
    }),
  );
}

function write(ctx, text, x, y, ink, align) {
  [ctx.fillStyle, ctx.textAlign, ctx.textBaseline] = [ink, align, "middle"];
  ctx.fillText(text, x, y);
}

function line(ctx, x0, y0, x1, y1, ink) {
  [ctx.strokeStyle, ctx.lineWidth] = [ink, 1];
  ctx.setLineDash([]);
  ctx.beginPath();
  ctx.moveTo(x0, y0);
  ctx.lineTo(x1, y1);
  ctx.stroke();
}

function paintCurves(ctx, panel, width, height, theme) {
  const { x, y, series, marks } = panel;
  ctx.font = `11px ${theme.font}`;
  const widest = Math.max(0, ...y.ticks.map(([, text]) => ctx.measureText(text).width));
  const [left, right] = [widest + (y.label ? 26 : 8), width - 8];
  const [top, bottom] = [6, height - (x.label ? 40 : 24)];
  const toX = (value) => left + ((value - x.low) / (x.high - x.low)) * (right - left);
  const toY = (value) => bottom - ((value - y.low) / (y.high - y.low)) * (bottom - top);
  paintGrid(ctx, panel, { left, right, top, bottom, width, height, toX, toY }, theme);
  ctx.save();
  ctx.beginPath();
  ctx.rect(left - 1, top - 3, right - left + 5, bottom - top + 5);
  ctx.clip();
  for (const curve of series) paintCurve(ctx, floats(curve.x), floats(curve.y), toX, toY, curve);
  ctx.restore();
  const inside = (value, axis) => value >= axis.low && value <= axis.high;
  for (const [markX, markY] of marks) {
    if (!inside(markX, x) || !inside(markY, y)) continue;
    ctx.beginPath();
    ctx.arc(toX(markX), toY(markY), 4, 0, 7);
    [ctx.fillStyle, ctx.strokeStyle, ctx.lineWidth] = [theme.ink, theme.ground, 1.5];
    ctx.fill();
    ctx.stroke();
  }
}

/** The axes of curves, with ticks, labels and a line at each tick. */
function paintGrid(ctx, { x, y }, { left, right, top, bottom, width, height, toX, toY }, theme) {
  const crisp = (value) => Math.round(value) + 0.5;
  for (const [value, said] of x.ticks) {
    line(ctx, crisp(toX(value)), top, crisp(toX(value)), bottom, theme.line);
    const rightmost = width - ctx.measureText(said).width / 2;
    write(ctx, said, Math.min(toX(value), rightmost), bottom + 12, theme.muted, "center");
  }
  for (const [value, said] of y.ticks) {
    line(ctx, left, crisp(toY(value)), right, crisp(toY(value)), theme.line);
    write(ctx, said, left - 6, toY(value), theme.muted, "right");
  }
  line(ctx, left, crisp(bottom), right, crisp(bottom), theme.muted);
  line(ctx, crisp(left), top, crisp(left), bottom, theme.muted);
  write(ctx, x.label, (left + right) / 2, height - 8, theme.muted, "center");
  ctx.save();
  ctx.translate(8, (top + bottom) / 2);
  ctx.rotate(-Math.PI / 2);
  write(ctx, y.label, 0, 0, theme.muted, "center");
  ctx.restore();
}

function paintCurve(ctx, xs, ys, toX, toY, { colour, dash }) {
  [ctx.strokeStyle, ctx.lineWidth, ctx.lineJoin] = [colour, 2, "round"];
  ctx.setLineDash(dash);
  ctx.beginPath();
  let down = false; // a value that is no number lifts the pen
  xs.forEach((x, k) => {
    const drawable = Number.isFinite(x) && Number.isFinite(ys[k]);
    if (drawable) ctx[down ? "lineTo" : "moveTo"](toX(x), toY(ys[k]));
    down = drawable;
  });
  ctx.stroke();
  ctx.setLineDash([]);
}

function paintBars(ctx, { names, heights, said, y, colour, below }, width, height, theme) {
  ctx.font = `12px ${theme.font}`;
  const longest = Math.max(0, ...names.map((name) => ctx.measureText(name).width));
  const named = Math.min(width * 0.42, 10 + longest);
  const [left, right, bottom] = [named, width - 44, height - (y.label ? 42 : 26)];
  const toX = (value) => {
    const shown = Math.min(Math.max(value, y.low), y.high);
    return left + ((shown - y.low) / (y.high - y.low)) * (right - left);
  };
  const row = bottom / Math.max(1, names.length);
  ctx.font = `11px ${theme.font}`;
  for (const [value, text] of y.ticks) {
    line(ctx, Math.round(toX(value)) + 0.5, 0, Math.round(toX(value)) + 0.5, bottom, theme.line);
    write(ctx, text, toX(value), bottom + 12, theme.muted, "center");
  }
  write(ctx, y.label, (left + right) / 2, height - 8, theme.muted, "center");
  names.forEach((name, k) => {
    const middle = (k + 0.5) * row;
    ctx.font = `12px ${theme.font}`;
    write(ctx, shortened(ctx, name, left - 8), left - 8, middle, theme.ink, "right");
    const [from, to] = [toX(0), toX(heights[k] ?? 0)];
    ctx.fillStyle = heights[k] < 0 ? below : colour;
    ctx.fillRect(Math.min(from, to), middle - row * 0.34, Math.abs(to - from), row * 0.68);
    ctx.font = `11px ${theme.font}`;
    write(ctx, said[k], Math.max(from, to) + 5, middle, theme.ink, "left");
  });
}

function shortened(ctx, name, room) {
  if (ctx.measureText(name).width <= room) return name;
  while (name.length > 1 && ctx.measureText(`${name}…`).width > room) name = name.slice(0, -1);
  return `${name}…`;
}
