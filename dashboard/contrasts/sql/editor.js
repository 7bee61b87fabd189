// The SQL editor that field.js asks for: CodeMirror with what a contrast needs. build.js makes bundle.js of it.
// Whatever comes from a store is shown by CodeMirror as text, never as HTML.

import { autocompletion, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { PostgreSQL, sql } from "@codemirror/lang-sql";
import { bracketMatching, HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import { setDiagnostics } from "@codemirror/lint";
import { Compartment, EditorState } from "@codemirror/state";
import { drawSelection, EditorView, keymap, tooltips } from "@codemirror/view";
import { tags } from "@lezer/highlight";

const BEFORE = 2000; // characters before the caret that are looked at
const COLUMN = /\b([qk])\.(\w*)$/i;
const WORD = /\w+$/;
// A column, what it is compared by, and the beginning of a value: k.category = 'fr, or k.category in ('fruit', 've
const VALUE = /\b([qk])\.(\w+)\s*(?:=|<>|!=|<=?|>=?|(?:not\s+)?in\s*\((?:[^()]*,)?)\s*('(?:[^']|'')*|[\w.]*)$/i;
const KEYWORDS = "and or not in is null true false between like exists case when then else end select distinct from where "
  + "join on using union all as with group by having order limit count sum min max avg";

const COLOURS = HighlightStyle.define([
  { tag: tags.keyword, color: "var(--sql-keyword)", fontWeight: "600" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--sql-string)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--sql-number)" },
  { tag: tags.comment, color: "var(--sql-comment)", fontStyle: "italic" },
]);

// What can stand at the caret. words: {columns: [[side, column, type, [[literal, shown], …]], …], tables: […]}
export function completions(words, before) {
  const value = VALUE.exec(before), named = COLUMN.exec(before);
  if (value && !named) {
    const [, side, column, typed] = value;
    return { from: before.length - typed.length, options: values(words, side.toLowerCase(), column.toLowerCase()), validFor: /^('(?:[^']|'')*'?|[\w.]*)$/ };
  }
  if (named) {
    const side = named[1].toLowerCase();
    const options = words.columns.filter(([of]) => of === side).map(([, name, type]) => ({ label: name, detail: type, type: "property" }));
    return { from: before.length - named[2].length, options, validFor: /^\w*$/ };
  }
  const word = WORD.exec(before);
  return word && { from: before.length - word[0].length, options: names(words), validFor: /^\w*$/ };
}

function values(words, side, column) {
  const own = words.columns.find(([of, name]) => of === side && name.toLowerCase() === column);
  if (!own) return [];
  const others = words.columns.filter(([of, , type]) => of !== side && type === own[2]);
  return [
    ...own[3].map(([literal, shown]) => ({ label: literal, displayLabel: shown, type: "constant", boost: 1 })),
    ...others.map(([of, name, type]) => ({ label: `${of}.${name}`, detail: type, type: "property" })),
  ];
}

function names(words) {
  return [
    ...words.columns.map(([side, name, type]) => ({ label: `${side}.${name}`, detail: type, type: "property" })),
    ...words.tables.map((name) => ({ label: name, detail: "table", type: "class" })),
    ...KEYWORDS.split(" ").map((label) => ({ label, type: "keyword", boost: -1 })),
  ];
}

export class Editor {
  // place: the element to be in. told: { label, text, words, dark, describedBy }. run: what Ctrl+Enter does.
  constructor(place, told, run) {
    this.words = told.words;
    this.look = new Compartment();
    const complete = ({ state, pos, explicit }) => {
      const start = Math.max(0, pos - BEFORE);
      const found = completions(this.words, state.sliceDoc(start, pos)) ?? (explicit ? { from: pos - start, options: names(this.words) } : null);
      return found && { ...found, from: found.from + start };
    };
    this.view = new EditorView({
      parent: place,
      root: place.getRootNode(),
      state: EditorState.create({
        doc: told.text,
        extensions: [
          history(),
          drawSelection(),
          bracketMatching(),
          EditorView.lineWrapping,
          sql({ dialect: PostgreSQL }),
          syntaxHighlighting(COLOURS),
          autocompletion({ override: [complete], icons: false, maxRenderedOptions: 60 }),
          tooltips({ position: "fixed" }),
          keymap.of([{ key: "Mod-Enter", run: () => (run(), true) }, ...completionKeymap, ...defaultKeymap, ...historyKeymap]),
          this.look.of(this.looks(told)),
        ],
      }),
    });
  }

  looks({ label, dark, fault, about }) {
    const attributes = { "aria-label": label, "aria-invalid": String(Boolean(fault)), "aria-description": about, spellcheck: "false", autocapitalize: "off" };
    return [EditorView.darkTheme.of(Boolean(dark)), EditorView.contentAttributes.of(attributes)];
  }

  get text() {
    return this.view.state.doc.toString();
  }

  set text(text) {
    if (text !== this.text) this.view.dispatch({ changes: { from: 0, to: this.view.state.doc.length, insert: text } });
  }

  // fault: { from, to, message }, where the text has a mistake; null where it has none.
  show(told) {
    this.words = told.words;
    this.view.dispatch({ effects: this.look.reconfigure(this.looks(told)) });
    const end = this.view.state.doc.length, { fault } = told;
    const marked = fault && { from: Math.min(fault.from, end), to: Math.min(fault.to, end), severity: "error", message: fault.message };
    this.view.dispatch(setDiagnostics(this.view.state, marked ? [marked] : []));
  }

  focus() {
    this.view.focus();
  }

  end() {
    this.view.destroy();
  }
}
