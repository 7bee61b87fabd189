// A field of SQL on a page: a plain text area at once, and CodeMirror (bundle.js) in its place as soon as that is there.
// It says what stands in it when it is left and at Ctrl+Enter; Tab leaves it.

const fields = new WeakMap(); // by the element they are in: it stays while its data change

export default function ({ parentElement, data, setStateValue }) {
  if (!fields.has(parentElement)) fields.set(parentElement, new Field(parentElement));
  const field = fields.get(parentElement);
  const shown = ++field.shown;
  field.tell = (text) => setStateValue("text", text);
  field.show(data);
  return () => {
    if (field.shown !== shown) return; // shown again since: this is the late clean-up of an earlier time
    field.end();
    fields.delete(parentElement);
  };
}

// Where the server is: what the page itself was loaded from, whatever its address.
function server() {
  const script = document.querySelector("script[src*='/static/']");
  return script ? script.src.split("/static/")[0] : location.origin;
}

class Field {
  constructor(place) {
    this.shown = 0;
    this.box = document.createElement("div");
    this.box.className = "sql";
    this.label = document.createElement("div");
    this.label.className = "label";
    this.holder = document.createElement("div");
    this.holder.className = "holder";
    this.plain = document.createElement("textarea");
    this.plain.spellcheck = false;
    this.plain.onkeydown = (e) => e.key === "Enter" && (e.ctrlKey || e.metaKey) && this.say();
    this.holder.append(this.plain);
    this.box.append(this.label, this.holder);
    this.box.addEventListener("focusout", (e) => this.box.contains(e.relatedTarget) || this.say());
    place.append(this.box);
  }

  get text() {
    return this.editor ? this.editor.text : this.plain.value;
  }

  set text(text) {
    if (this.editor) this.editor.text = text;
    else this.plain.value = text;
    this.sent = text;
  }

  // The server's text counts where it is another than it gave before and than was sent: else it would undo what is being typed.
  show(data) {
    this.data = data;
    this.label.textContent = data.label;
    this.holder.style.minHeight = this.plain.style.minHeight = `${data.height}px`;
    this.box.classList.toggle("dark", Boolean(data.dark));
    this.box.classList.toggle("wrong", Boolean(data.fault));
    this.plain.setAttribute("aria-label", data.label);
    this.plain.setAttribute("aria-invalid", String(Boolean(data.fault)));
    if (data.text !== this.given && data.text !== this.sent) this.text = data.text;
    this.given = data.text;
    this.editor?.show(data);
    if (data.url && !this.asked) this.better(data.url);
  }

  async better(url) {
    this.asked = true;
    let Editor;
    try {
      ({ Editor } = await import(server() + url));
    } catch {
      return; // the text area stays
    }
    if (this.ended) return;
    const held = this.plain.matches(":focus"), text = this.plain.value;
    this.editor = new Editor(this.holder, { ...this.data, text }, () => this.say());
    this.plain.remove();
    this.editor.show(this.data);
    if (held) this.editor.focus();
  }

  say() {
    if (this.text === this.sent) return;
    this.sent = this.text;
    this.tell(this.text);
  }

  end() {
    this.ended = true;
    this.editor?.end();
    this.box.remove();
  }
}
