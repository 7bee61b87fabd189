// All heads of a layer as small pictures, each a button that opens its head. Text of data is set with textContent alone.

const WIDE = 170; // of a picture that has no size yet, in pixels of the page
const FLAT = 13 / 17;
const ROOM = 8;
const sheets = new WeakMap(); // by the element they are drawn in

export default function ({ parentElement, data, setTriggerValue }) {
  if (!sheets.has(parentElement)) sheets.set(parentElement, { place: made("div", parentElement, "heads"), shown: 0 });
  const sheet = sheets.get(parentElement);
  const shown = ++sheet.shown;
  const look = JSON.stringify(data);
  if (sheet.look !== look) draw(sheet.place, data, (head) => sheets.get(parentElement).open(head));
  sheet.look = look;
  sheet.open = (head) => setTriggerValue("opened", head);
  return () => {
    if (sheet.shown !== shown) return; // shown again since
    sheet.place.remove();
    sheets.delete(parentElement);
  };
}

function made(name, place, className, text = "") {
  const element = document.createElement(name);
  element.className = className;
  element.textContent = text;
  place.append(element);
  return element;
}

const decoded = (text) => new Uint16Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);

function draw(place, data, open) {
  place.replaceChildren();
  const grid = made("div", place, "grid");
  const pictures = [];
  for (const head of data.heads) {
    const button = made("button", grid, head.shown ? "shown" : "");
    button.type = "button";
    button.setAttribute("aria-label", head.about);
    if (head.shown) button.setAttribute("aria-current", "true");
    button.onclick = () => open(head.head);
    made("b", button, "", head.name);
    pictures.push([made("canvas", button, ""), head]);
    for (const line of head.lines) made("span", button, "", line);
  }
  for (const [canvas, head] of pictures) picture(canvas, head, data);
  const legend = made("div", place, "legend");
  for (const [label, colour] of [["▲ query", null], ["● key", null], [data.legend, null], ...data.groups]) {
    const entry = made("span", legend, "");
    if (colour) made("i", entry, "").style.background = colour;
    made("span", entry, "", label);
  }
}

function picture(canvas, { xy, group, keys }, { groups, ink }) {
  const width = canvas.clientWidth || WIDE;
  const height = Math.round(width * FLAT);
  const sharp = Math.max(devicePixelRatio, 1);
  Object.assign(canvas, { width: width * sharp, height: height * sharp });
  const g = canvas.getContext("2d");
  g.scale(sharp, sharp);
  const [at, of] = [decoded(xy), decoded(group)];
  g.strokeStyle = ink;
  g.lineWidth = 0.5;
  for (let i = 0; i < of.length; i++) {
    const x = ROOM + (at[2 * i] / 65535) * (width - 2 * ROOM);
    const y = height - ROOM - (at[2 * i + 1] / 65535) * (height - 2 * ROOM);
    g.globalAlpha = 0.75;
    g.fillStyle = groups[of[i]][1];
    g.beginPath();
    if (i < keys) g.arc(x, y, 2.1, 0, 7);
    else for (const [dx, dy] of [[0, -4], [3.7, 2.8], [-3.7, 2.8]]) g.lineTo(x + dx, y + dy);
    g.closePath();
    g.fill();
    if (i >= keys) g.stroke();
  }
}
