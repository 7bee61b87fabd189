// What a person does with the picture of space_scene.js, which comes before this in one module: turning, zooming, pointing, singling out.
// Whatever comes from data is shown with textContent or fillText, never as HTML.

const START = { yaw: -0.6, pitch: 0.3, zoom: 1 };
const ZOOM = [0.4, 12];
const TURNS = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
const ZOOMS = { "+": 1.15, "=": 1.15, "-": 1 / 1.15 };
const plots = new WeakMap(); // by the element they are drawn in: it stays while its data change

export default function ({ parentElement, data }) {
  if (!plots.has(parentElement)) plots.set(parentElement, new Plot(parentElement));
  const plot = plots.get(parentElement);
  const shown = ++plot.shown;
  plot.show(data);
  return () => {
    if (plot.shown !== shown) return; // shown again since: this is the late clean-up of an earlier time
    plot.end();
    plots.delete(parentElement);
  };
}

function element(name, place, className = "", text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  place.append(made);
  return made;
}

class Plot {
  constructor(place) {
    this.shown = 0;
    this.view = { ...START };
    this.chosen = null; // a label of the legend
    this.figure = element("figure", place, "space");
    this.canvas = element("canvas", this.figure);
    this.canvas.setAttribute("role", "img");
    this.canvas.tabIndex = 0;
    this.scene = new Scene(this.canvas);
    this.legend = element("div", this.figure, "legend");
    this.ring = element("div", this.figure, "ring");
    this.tip = element("div", this.figure, "tip");
    const table = element("table", this.tip);
    this.cells = ["side", "label", "token", "prompt"].map((name) => {
      const row = element("tr", table);
      element("th", row, "", name);
      return element("td", row);
    });
    this.listen();
  }

  listen() {
    const on = (name, act, options) => this.canvas.addEventListener(name, act, options);
    on("pointerdown", (e) => this.hold(e));
    on("pointermove", (e) => (this.held ? this.drag(e) : this.point(e.offsetX, e.offsetY)));
    for (const name of ["pointerup", "pointercancel"]) on(name, () => this.release());
    on("pointerleave", () => this.forget());
    on("dblclick", () => this.look(START));
    on("keydown", (e) => this.press(e));
    on("wheel", (e) => this.zoom(Math.exp((e.deltaMode ? -0.03 : -0.0015) * e.deltaY), e), { passive: false });
    this.resized = new ResizeObserver(() => this.redraw());
    this.resized.observe(this.canvas);
  }

  end() {
    this.resized.disconnect();
    cancelAnimationFrame(this.next);
    this.figure.remove();
  }

  show(data) {
    this.data = data;
    for (const name of ["prompt", "token"]) this[name] = decoded(data[name], Int32Array);
    this.scene.load(data);
    this.canvas.setAttribute("aria-label", data.about);
    this.list();
    this.choose(data.groups.findIndex(([label]) => label === this.chosen));
  }

  list() {
    this.legend.replaceChildren();
    for (const [kind, text] of [["side", "▲ query"], ["side", "● key"], ["title", this.data.legend]]) element("span", this.legend, kind, text);
    this.buttons = this.data.groups.map(([label, colour], i) => {
      const button = element("button", this.legend);
      button.type = "button";
      button.title = label;
      element("i", button).style.background = colour;
      element("span", button, "", label);
      button.onclick = () => this.choose(this.chosen === label ? -1 : i);
      return button;
    });
  }

  // Singles out group i, or none (−1).
  choose(i) {
    this.only = i;
    this.chosen = this.data.groups[i]?.[0] ?? null;
    for (const [j, button] of this.buttons.entries()) {
      button.className = i < 0 || i === j ? "" : "dimmed";
      button.setAttribute("aria-pressed", String(i === j));
    }
    this.redraw();
  }

  redraw() {
    this.forget();
    cancelAnimationFrame(this.next);
    this.next = requestAnimationFrame(() => this.scene.draw(this.view, this.only));
  }

  look(changes) {
    Object.assign(this.view, changes);
    this.view.pitch = Math.min(Math.max(this.view.pitch, -Math.PI / 2), Math.PI / 2);
    this.redraw();
  }

  turn(yaw, pitch) {
    this.look({ yaw: this.view.yaw + yaw, pitch: this.view.pitch + pitch });
  }

  zoom(factor, event) {
    const zoom = Math.min(Math.max(this.view.zoom * factor, ZOOM[0]), ZOOM[1]);
    if (zoom === this.view.zoom) return; // as far as it goes: the wheel moves the page again
    event.preventDefault();
    this.look({ zoom });
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in ZOOMS) this.zoom(ZOOMS[event.key], event);
    else if (event.key in TURNS) this.turn(...TURNS[event.key]);
    else if (event.key === "0") this.look(START);
    else return;
    event.preventDefault();
  }

  hold(event) {
    if (event.button) return;
    this.held = event;
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.classList.add("held");
  }

  drag(event) {
    this.turn(0.008 * (event.clientX - this.held.clientX), 0.008 * (event.clientY - this.held.clientY));
    this.held = event;
  }

  release() {
    this.held = null;
    this.canvas.classList.remove("held");
  }

  // Rings the point under the pointer and tells of it, on the side where there is room.
  point(x, y) {
    const i = this.scene.nearest(x, y);
    if (i < 0) return this.forget();
    const { keys, groups, tokens } = this.data;
    const texts = [i < keys ? "key" : "query", groups[this.scene.group[i]][0], tokens[this.token[i]], this.prompt[i]];
    this.cells.forEach((cell, j) => (cell.textContent = texts[j]));
    this.tip.hidden = this.ring.hidden = false;
    const [left, top] = this.scene.place(i);
    Object.assign(this.ring.style, { left: `${left}px`, top: `${top}px` });
    const over = left + 16 + this.tip.offsetWidth > this.canvas.clientWidth;
    Object.assign(this.tip.style, { left: `${Math.max(0, over ? left - 16 - this.tip.offsetWidth : left + 16)}px`, top: `${top + 12}px` });
  }

  forget() {
    this.tip.hidden = this.ring.hidden = true;
  }
}
