"""The demo's words: entities and box letters of the binding prompts, categories and items of the lists.

Every word is one token of the demo's tokenizer, and no word stands in two places, so that a word names its feature.
The last `TEST_ENTITIES` entities and the last `TEST_ITEMS` items of each category are kept for the test split.
"""

from __future__ import annotations

import string

BOXES = tuple(string.ascii_uppercase)
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")

TEST_ENTITIES = 20
TEST_ITEMS = 6

ENTITIES = tuple(
    """
jam hat pen cup key map coin lamp book ring rope soap sock tape vase whip yarn bell bowl comb
cork dart dice disc doll flag fork gift glue harp horn iron jar kite knot lace lens lock mask medal
mug nail needle pearl pipe plate ribbon ruler scarf shell spoon stamp sponge thread ticket towel tray tube watch whistle
""".split()
)

_LISTED = {
    "fruit": "apple banana cherry grape mango peach pear plum kiwi papaya apricot fig lychee melon guava lime",
    "animal": "horse cow sheep goat wolf bear fox tiger lion rabbit camel deer otter zebra moose badger",
    "bird": "eagle sparrow robin owl heron finch raven parrot swan dove falcon stork magpie wren gull kestrel",
    "color": "red blue green yellow purple pink brown black white gray crimson teal beige maroon cyan ivory",
    "tool": "hammer saw drill chisel wrench pliers shovel rake axe screwdriver spanner mallet trowel clamp hoe crowbar",
    "vehicle": "car bus truck train tram bicycle scooter van ship ferry canoe yacht glider taxi tractor wagon",
    "instrument": (
        "piano violin guitar flute drum cello trumpet banjo oboe clarinet tuba lute viola accordion bassoon mandolin"
    ),
    "country": "france spain italy brazil japan india china egypt kenya peru chile norway poland ghana vietnam greece",
    "metal": (
        "gold silver copper tin lead zinc nickel steel bronze platinum brass titanium cobalt chromium tungsten pewter"
    ),
    "sport": """
        tennis soccer rugby hockey golf boxing rowing judo cricket baseball fencing archery squash karate polo
        sailing
    """,
    "tree": "oak pine birch maple elm ash willow cedar spruce poplar beech larch yew hazel alder cypress",
    "garment": (
        "shirt coat jacket skirt dress sweater trousers vest blouse cardigan gown tunic parka shorts poncho kimono"
    ),
    "profession": """
        doctor teacher lawyer farmer baker pilot nurse judge plumber tailor butcher painter dentist barber mason
        sailor
    """,
}
CATEGORIES = {name: tuple(words.split()) for name, words in _LISTED.items()}

PLURALS = {name: name + "s" for name in CATEGORIES} | {"country": "countries"}


def entities(split: str) -> tuple[str, ...]:
    """The 40 entities of 'train' or the 20 of 'test'."""
    return ENTITIES[-TEST_ENTITIES:] if split == "test" else ENTITIES[:-TEST_ENTITIES]


def items(category: str, split: str) -> tuple[str, ...]:
    """The ten words of a category for 'train', or its six held-out ones for 'test'."""
    words = CATEGORIES[category]
    return words[-TEST_ITEMS:] if split == "test" else words[:-TEST_ITEMS]
