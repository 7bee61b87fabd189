"""The answer slot: where a built-in prompt asks a model for its answer, beside or inside a chat template.

    plain     … Which box is the jam in? Answer: box|
    user      <user> … Which box is the jam in? Answer: box| <assistant>
    reply     <user> … Which box is the jam in? <assistant>|
    prefill   <user> … Which box is the jam in? <assistant> Answer: box|

The query stands at |. A prompt from a file has its slot where its spans say.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

from ingest.prompts.prompts import Prompt
from qkstore.errors import PromptError, near

Slot = Literal["prefill", "user", "reply", "plain"]
SLOTS: tuple[Slot, ...] = get_args(Slot)  # the first of equally good ones is taken
TOLD: dict[Slot, str] = {
    "prefill": "behind the beginning of a reply that the model is given",
    "user": "the end of the user's text",
    "reply": "the start of the model's reply",
    "plain": "the end of the text, without a chat template",
}
AUTO = "auto"


def of(asked: Slot | str, there: tuple[Slot, ...], tokenizer) -> tuple[Slot, ...]:
    """The slots to choose from: the one asked for, or for 'auto' all that the task and the tokenizer have.

    there: those of a task in a chat template, none where its prompts say themselves where the slot is.
    Raises PromptError for one that is not among them.
    """
    chat = there if tokenizer.chat_template is not None else ()
    if asked == AUTO:
        return tuple(slot for slot in SLOTS if slot in (*chat, "plain"))
    if asked not in SLOTS:
        raise PromptError(f"no slot {asked!r}: {near(str(asked), (AUTO, *SLOTS))}")
    if asked not in (*chat, "plain"):
        why = (
            "this task's prompts have none of that kind" if chat or not there else "the tokenizer has no chat template"
        )
        raise PromptError(f"slot {asked!r}: {why}; there are: {', '.join((AUTO, *chat, 'plain'))}")
    return (asked,)


def placed(prompt: Prompt, slot: Slot) -> Prompt:
    """The prompt with its answer slot there, for spans.tokenised with chat=True, but for 'plain'.

    The slot 'reply' cuts off what a reply could begin with; the template's last token is then the slot.
    """
    if slot == "user":
        return replace(prompt, reply=None)
    if slot != "reply" or prompt.reply is None:
        return prompt
    text = prompt.text[: prompt.reply].rstrip()
    return replace(prompt, text=text, spans=tuple(s for s in prompt.spans if s.end <= len(text)), reply=None)
