// The page's address with every choice written out, in a field, beside a button that copies it.

export default function ({ parentElement, data }) {
  const field = parentElement.querySelector("input") ?? made(parentElement);
  field.value = `${location.origin}${location.pathname}?${data.query}`;
}

function made(place) {
  const row = element("div", place, "link");
  const field = element("input", row);
  field.readOnly = true;
  field.setAttribute("aria-label", "Link to what this page shows");
  field.addEventListener("focus", () => field.select());
  const button = element("button", row);
  button.type = "button";
  button.textContent = "Copy link";
  const said = element("span", row);
  said.setAttribute("role", "status");
  button.addEventListener("click", async () => {
    said.textContent = (await copied(field)) ? "Copied" : "Press Ctrl+C to copy";
  });
  return field;
}

// Browsers give the clipboard to pages of this machine and of https only; elsewhere the selected text is copied.
async function copied(field) {
  try {
    await navigator.clipboard.writeText(field.value);
    return true;
  } catch {
    field.focus();
    field.select();
    return document.execCommand("copy");
  }
}

function element(name, place, className = "") {
  const one = document.createElement(name);
  one.className = className;
  place.append(one);
  return one;
}
