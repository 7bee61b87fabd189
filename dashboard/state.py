"""The state of a view.

The URL is its only truth: a widget is set from it on every run, and writes it when a person changes it. Nothing is
written to the URL while a page loads: that would add an entry to the browser's history, and Back would not get past it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NoReturn

import streamlit as st

from dashboard import results, shell
from dashboard.contrasts import findings, offered
from dashboard.share import made
from dashboard.text import line, plain
from qkstore.analysis import build_split, judge_split
from qkstore.analysis import heads as analysis_heads
from qkstore.contrast import Contrast
from qkstore.errors import QKStoreError, StoreError, near
from qkstore.run import Run
from qkstore.run.task import task
from qkstore.store import Store
from qkstore.store.catalog import full_name
from qkstore.text import visible

CARRIED = ("run", "contrast", "layer", "head")
BOTH = (("order", "lexical"), ("authors/order", "authors/lexical"), ("z1", "z2"), ("exact/z1", "exact/z2"))
TO_LEXICAL = ("order-centred", "order-elsewhere", "reflexive")
PARTNERS = {**dict(BOTH), **{b: a for a, b in BOTH}, **dict.fromkeys(TO_LEXICAL, "lexical")}
NONE = "none"
DRAFT = "draft"  # what is being written on the Contrasts page, in the address
OF_A_HEAD = "component group against".split()
OF_A_RUN = "prompt q k order label value skip query from cluster".split() + OF_A_HEAD
NOTES = "notes"  # the place for lines about bad choices: above the filters, which are too narrow for a line
CHECKED = "checked"  # the place for what the check found about the contrasts shown: beneath the filters


@dataclass(frozen=True)
class View:
    """What a page shows: a run, a contrast by name, and the head. `extra` are columns for the page's own controls."""

    store: Store
    run: Run
    named: dict[str, tuple[Contrast, ...]]
    name: str
    layer: int | None
    head: int | None
    extra: list
    misfits: Mapping[str, str] = field(default_factory=dict)  # {saved contrast: what the run lacks for it}

    @property
    def contrasts(self) -> tuple[Contrast, ...]:
        """The contrast, or the members of a span such as `category:*`."""
        return self.named[self.name]

    @property
    def contrast(self) -> Contrast:
        """The one contrast behind the name; of a span, the pooled one."""
        return analysis_heads.scored_by(self.named, self.name)

    @property
    def spans(self) -> bool:
        """Whether the name stands for several contrasts."""
        return len(self.contrasts) > 1

    @property
    def one(self) -> str:
        """The name of `contrast`, with its version, as commands take it."""
        return full_name(self.contrast)

    def others(self) -> list[str]:
        return [name for name in self.named if name != self.name]


def carried() -> dict[str, str]:
    """The part of the URL that links to other pages take along."""
    return {name: st.query_params[name] for name in CARRIED if name in st.query_params}


def select(
    label: str,
    name: str,
    options: Sequence,
    default: Any,
    *,
    shown: Callable[[Any], str] = str,
    changed: Callable | None = None,
    help: str | None = None,
    widget: Callable = st.selectbox,
    also: Mapping[str, Any] = MappingProxyType({}),
    absent: str | None = None,
    **more,
) -> Any:
    """A choice kept in the URL under `name`.

    Where the URL's value is no option, one line says so and the default is shown. also: {other value: its option}.
    absent: why it is none, if that is known.
    """
    texts = {**also, **{str(option): option for option in options}}
    asked, key = st.query_params.get(name), f"url-{name}"
    if asked is not None and asked not in texts:
        told = asked[:100]  # an address may be of any length
        why = absent or f"of the address is not here; {near(told, map(str, options))}"
        said = f"{label} {told!r} {why}. Showing {shown(default)[:60]}."
        st.session_state.get(NOTES, st).warning(plain(said))
    st.session_state[key] = texts.get(asked, default)
    chosen = widget(
        label,
        options,
        format_func=lambda option: visible(shown(option)),
        key=key,
        on_change=_write,
        args=(name, key, changed),
        help=help,
        **more,
    )
    made.now().choices[name] = str(chosen)
    return chosen


def segments(label: str, name: str, options: Sequence, default: Any, **more) -> Any:
    """The same as a row of buttons, for a few short options."""
    return select(label, name, options, default, widget=st.segmented_control, required=True, **more)


def put(**values) -> None:
    """Write choices into the URL, in one entry of the browser's history; None removes one."""
    there = st.query_params.to_dict()
    if (wanted := {name: str(value) for name, value in {**there, **values}.items() if value is not None}) != there:
        st.query_params.from_dict(wanted)


def changed(act: Callable[[], object], said: str) -> None:
    """Change something in the store, show the page anew, and say what was done; a mistake is one line."""
    try:
        act()
    except QKStoreError as error:
        st.error(shell.told(error))
        return
    st.toast(plain(said))
    st.rerun()


def _write(name: str, key: str, changed: Callable | None) -> None:
    put(**{name: st.session_state[key]})
    if changed:
        changed()


def view(head: bool = True, extra: Sequence[float] = (), without: bool = False) -> View:
    """The row of filters and what they say; stops the page where the store has no run.

    Raises ContrastError where the run has no contrast, unless `without` says that the page does without one.
    """
    store = shell.store()
    st.session_state[NOTES] = st.container()
    run_place, contrast_place, *rest = st.columns(
        [2.6, 2.6, *([1, 1] if head else []), *extra], vertical_alignment="bottom"
    )
    st.session_state[CHECKED] = st.container()
    runs, errors = store.scan()
    if not runs:
        shell.empty_store(store, errors)
    with run_place:
        name = of_runs(store, [r.name for r in runs], changed=forget)
    run = next(r for r in runs if r.name == name)
    tell_task(run)
    named, misfits = offered.versioned(store, run)
    if not named and without:
        return View(store, run, {}, "", None, None, rest, misfits)
    if not named:
        _nothing_to_ask(run, misfits)
    misfit = misfits.get(st.query_params.get("contrast", "").partition("@")[0])
    absent = misfit and f"does not fit run {run.name}: {misfit}"
    with contrast_place:
        more = {"also": offered.newest(named), "absent": absent, "changed": lambda: put(**{DRAFT: None})}
        contrast = select("Contrast", "contrast", list(named), next(iter(named)), **more)
    for said in offered.told(named, contrast):
        st.session_state[NOTES].info(plain(said))
    with st.session_state[CHECKED]:
        if said := offered.carried(named[contrast][0]):
            line(said)
    shown = View(store, run, named, contrast, None, None, rest[2:] if head else rest, misfits)
    if not head:
        return shown
    findings.tell(st.session_state[CHECKED], run, shown.contrasts)
    return _with_head(shown, *rest[:2])


def of_runs(store: Store, names: Sequence[str], changed: Callable) -> str:
    """The choice of a run. Of one that was renamed the address names the old name still: that says where it went."""
    asked, now, became = st.query_params.get("run"), None, ""
    if asked and asked not in names:
        with suppress(StoreError):
            now, became = store.catalog.runs.gone(asked)
    return select("Run", "run", names, now if now in names else names[0], changed=changed, absent=became or None)


def _nothing_to_ask(run: Run, misfits: Mapping[str, str]) -> NoReturn:
    """Say that no contrast fits a run, and where to write one; ends the page."""
    saved = f", nor does one of the {len(misfits):,} saved ones" if misfits else ""
    st.info(plain(f"No built-in contrast fits the labels of run {run.name}{saved}. Write one to go on:"))
    shell.link("contrasts", "Write a contrast for this run", run=run.name)
    st.stop()
    raise AssertionError("st.stop ends the run")


def tell_task(run: Run) -> None:
    """Beneath the filters, how the model does on the run's task, a warning where it does not; whether it is rounded."""
    found = task(run)
    with st.session_state[NOTES]:
        if found:
            line(found.sentence) if found.done else st.warning(plain(found.sentence))
        line(f"{run.manifest.rounding.capitalize()}.") if run.manifest.rounding else None


def _with_head(view: View, layer_place, head_place) -> View:
    """The view with the layer and head chosen in these two places; by default the contrast's best head."""
    layers, heads = list(view.run.layers), list(range(view.run.n_heads))
    best = (layers[0], 0)
    if not (
        st.query_params.get("layer", "") in map(str, layers) and st.query_params.get("head", "") in map(str, heads)
    ):
        best = results.best(view.run, view.contrast)
    with layer_place:
        layer = select("Layer", "layer", layers, best[0], changed=forget_head)
    with head_place:
        head = select("Head", "head", heads, best[1], changed=forget_head)
    return replace(view, layer=layer, head=head)


def partner(view: View) -> str | None:
    """The contrast to set beside the view's: its partner in the paper, or the first other; one that has pairs."""
    first = PARTNERS.get(view.name)
    others = sorted(view.others(), key=lambda name: name != first)
    return next((name for name in others if paired(view, name)), None)


def paired(view: View, name: str) -> bool:
    """Whether a contrast has pairs of both signs on the prompts that it is built on, and on those it is judged on."""
    splits = {build_split(view.run), judge_split(view.run)}
    try:
        for contrast in view.named[name]:
            for split in splits:
                results.counts(view.run, contrast, split)
    except QKStoreError:
        return False
    return True


def partnered(view: View) -> str | None:
    """A second contrast, or None: the partner in the paper by default, where there is one that has pairs."""
    default = PARTNERS.get(view.name, NONE)
    name = select(
        "And",
        "and",
        [NONE, *view.others()],
        default if default in view.others() and paired(view, default) else NONE,
        help="A second contrast; both are also taken together",
        also=offered.newest(view.named),
    )
    if name == NONE:
        return None
    findings.tell(st.session_state[CHECKED], view.run, view.named[name])
    return name


def forget_head() -> None:
    """After another head is chosen: drop what is of one head alone. Its component 6 is not that of another head."""
    put(**dict.fromkeys(OF_A_HEAD))


def forget() -> None:
    """After another run is chosen: drop what it has not, as those choices were made for the run before."""
    run = shell.store().run(st.query_params["run"])
    named, _ = offered.versioned(shell.store(), run)
    names = {*named, *offered.newest(named)}
    kept = {
        **dict.fromkeys(("contrast", "and", "with"), names),
        "layer": map(str, run.layers),
        "head": map(str, range(run.n_heads)),
    }
    if st.query_params.get("contrast") not in names:
        put(**{DRAFT: None})
    for name in (*kept, *OF_A_RUN):
        if st.query_params.get(name) not in set(kept.get(name, ())):
            put(**{name: None})
