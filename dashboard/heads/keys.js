// The map of heads by the keyboard: its cells are SVG, one of which takes the focus; arrows move it, Enter chooses.
// Vega draws a map when it likes, and anew when its place changes size, so each is looked at again after a change.

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, 0], ArrowDown: [-1, 0], PageUp: [8, 0], PageDown: [-8, 0] };
let held = null; // which of the maps a cell was chosen in by the keyboard: the one that takes its place gets the focus

export default function ({ data, setTriggerValue }) {
  const stops = data.maps.map((name, place) => attend(name, place, data, setTriggerValue));
  return () => stops.forEach((stop) => stop());
}

function attend(name, place, data, choose) {
  const main = document.querySelector(".stMain") ?? document.body;
  const find = () => main.querySelector(`.st-key-${name}`);
  let drawn = null;
  const look = () => {
    const group = find()?.querySelector("svg g.mark-rect.role-mark");
    if (!group?.firstElementChild || group === drawn?.group) return;
    drawn = listen(group, place, data, choose);
  };
  const observer = new MutationObserver(look);
  observer.observe(main, { childList: true, subtree: true });
  look();
  return () => observer.disconnect();
}

function listen(group, place, data, choose) {
  const cells = new Map();
  for (const cell of group.children) {
    const at = cell.__data__?.datum;
    if (at) cells.set(`${at.layer},${at.head}`, cell);
  }
  const at = (cell) => cell.__data__.datum;
  const first = cells.get(`${data.layer},${data.head}`) ?? group.firstElementChild;
  let stop = first;
  const rest = (cell) => {
    stop.removeAttribute("tabindex");
    stop = cell;
    const { layer, head, shown } = at(cell);
    cell.setAttribute("tabindex", "0");
    cell.setAttribute("role", "button");
    cell.setAttribute("aria-label", `Layer: ${layer}; Head: ${head}; ${shown}`);
  };
  const go = (cell) => {
    if (!cell) return;
    rest(cell);
    cell.focus({ preventScroll: true });
    tell(cell);
  };
  rest(first);
  group.addEventListener("focusin", (event) => Object.assign(event.target.style, { outline: "3px solid #CC79A7" }));
  group.addEventListener("focusout", (event) => Object.assign(event.target.style, { outline: "" }));
  group.addEventListener("keydown", (event) => {
    const { layer, head } = at(stop);
    const row = data.layers.indexOf(layer);
    if (event.key === "Enter" || event.key === " ") {
      held = place;
      choose("pick", { layer, head });
    } else if (event.key === "Home") go(cells.get(`${layer},0`));
    else if (event.key === "End") go(cells.get(`${layer},${data.heads - 1}`));
    else if (event.key in STEPS) {
      const [up, right] = STEPS[event.key];
      const to = Math.min(Math.max(row + up, 0), data.layers.length - 1);
      go(cells.get(`${data.layers[to]},${head + right}`));
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  if (held === place) {
    held = null;
    go(first);
  }
  return { group };
}

// The tooltip of a cell, as when the pointer is on it.
function tell(cell) {
  const { left, top, width, height } = cell.getBoundingClientRect();
  const place = { bubbles: true, clientX: left + width / 2, clientY: top + height / 2 };
  for (const kind of ["pointermove", "mousemove"]) cell.dispatchEvent(new PointerEvent(kind, place));
}
