"""What a scene can hold, and the words for it. The order of every tuple is part of the trained weights: append only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One drawable thing: its word, plural, other words for it, and its icon in fluent-emoji-flat."""

    word: str
    plural: str
    icon: str
    synonyms: tuple[str, ...] = ()


OBJECTS: tuple[SceneObject, ...] = (
    SceneObject("apple", "apples", "red-apple"),
    SceneObject("banana", "bananas", "banana"),
    SceneObject("grape", "grapes", "grapes"),
    SceneObject("carrot", "carrots", "carrot"),
    SceneObject("mushroom", "mushrooms", "mushroom", ("toadstool",)),
    SceneObject("pizza", "pizzas", "pizza"),
    SceneObject("cat", "cats", "cat-face", ("kitten", "kitty")),
    SceneObject("dog", "dogs", "dog-face", ("puppy",)),
    SceneObject("frog", "frogs", "frog", ("toad",)),
    SceneObject("pig", "pigs", "pig-face", ("piglet",)),
    SceneObject("penguin", "penguins", "penguin"),
    SceneObject("fish", "fishes", "tropical-fish"),
    SceneObject("butterfly", "butterflies", "butterfly"),
    SceneObject("octopus", "octopuses", "octopus", ("squid",)),
    SceneObject("car", "cars", "automobile", ("automobile",)),
    SceneObject("rocket", "rockets", "rocket", ("spaceship",)),
    SceneObject("boat", "boats", "sailboat", ("sailboat", "ship")),
    SceneObject("house", "houses", "house", ("home",)),
    SceneObject("tree", "trees", "deciduous-tree"),
    SceneObject("flower", "flowers", "sunflower", ("sunflower",)),
    SceneObject("umbrella", "umbrellas", "umbrella", ("parasol",)),
    SceneObject("balloon", "balloons", "balloon"),
    SceneObject("heart", "hearts", "red-heart"),
    SceneObject("star", "stars", "star"),
)

# White is the background when the prompt names none; the others are pale enough for every object to stand out.
BACKGROUNDS: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("white", (255, 255, 255)),
    ("gray", (168, 168, 172)),
    ("pink", (255, 190, 205)),
    ("orange", (255, 184, 112)),
    ("yellow", (255, 242, 150)),
    ("green", (160, 222, 152)),
    ("blue", (146, 196, 255)),
    ("purple", (204, 168, 240)),
    ("brown", (188, 148, 116)),
)

COUNT_WORDS = {2: ("two", "2"), 3: ("three", "3"), 4: ("four", "4")}

RELATIONS: dict[str, tuple[str, ...]] = {
    "left": ("to the left of", "left of"),
    "right": ("to the right of", "right of"),
    "above": ("above", "on top of", "over"),
    "below": ("below", "under", "beneath"),
}

SINGLE_TEMPLATES = (
    "{a} {o}", "one {o}", "a picture of {a} {o}", "a drawing of {a} {o}", "an image of {a} {o}", "a photo of {a} {o}",
    "a sticker of {a} {o}", "an icon of {a} {o}", "please draw {a} {o}", "show me {a} {o}", "just {a} {o}",
    "{o}", "the {o}", "a small {o}", "a nice {o}", "a cute {o}",
)  # fmt: skip
BACKGROUND_TEMPLATES = (
    "{a} {o} on {b} {c} background",
    "{a} {o} in front of {b} {c} background",
    "{a} {o}, {c} background",
    "one {o} on {c}",
    "a picture of {a} {o} on {b} {c} background",
)
COUNT_TEMPLATES = ("{n} {os}", "a picture of {n} {os}", "there are {n} {os}", "a group of {n} {os}", "draw {n} {os}")
TWO_TEMPLATES = (
    "{a} {o} and {b} {p}",
    "{a} {o} with {b} {p}",
    "a picture of {a} {o} and {b} {p}",
    "{a} {o} next to {b} {p}",
)
RELATION_TEMPLATES = ("{a} {o} {r} {b} {p}", "a picture of {a} {o} {r} {b} {p}", "the {o} is {r} the {p}")


def words() -> tuple[str, ...]:
    """Every word that a caption can hold, sorted: the vocabulary of the word-level text encoders."""
    found: set[str] = {"a", "an"}
    for thing in OBJECTS:
        found.update((thing.word, thing.plural, *thing.synonyms))
    found.update(name for name, _ in BACKGROUNDS)
    for names in COUNT_WORDS.values():
        found.update(names)
    phrases = [phrase for several in RELATIONS.values() for phrase in several]
    templates = SINGLE_TEMPLATES + BACKGROUND_TEMPLATES + COUNT_TEMPLATES + TWO_TEMPLATES + RELATION_TEMPLATES
    for phrase in (*phrases, *templates):
        found.update(word.strip(",") for word in phrase.split() if not word.startswith("{"))
    return tuple(sorted(found))
