"""Prompt -> numbers and tokens, cheap enough for every request.

What lives here: one function, `extract`, and the word lists of its schemas. It takes any `str` whatever (NUL, lone
surrogates, a megabyte), and names are of [a-z0-9_] only, so nothing that a caller writes can become a label, a
namespace or a value in Vowpal Wabbit's text format.

| schema | what is in it |
| --- | --- |
| words-1 | numbers and tokens of the words; the default |
| words-1+minilm-1 | the same, and 128 numbers of a sentence encoder, which the caller computes and hands in |

What is kept of a prompt needs a `key`: without one the tokens are its words, in order. With one they are keyed hashes,
sorted: a model learns from them as well, but only who has the key can test whether a word was in a prompt, and nobody
can tell the order. The numbers stay readable in both. A sentence vector is no such hash: it is made to tell what a
prompt is about, nothing keys it, and whoever reads it can guess the subject and test any guess. So its schema is never
the default: an operator chooses it, and with it that the journal says this much of every prompt.

A schema's meaning never changes: a model that learned from "words-1" may only be asked with "words-1". Other words,
other scales or other names are another schema.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b, blake2s

import numpy as np
from numpy.typing import NDArray

from .context import PromptFeatures
from .errors import BadVector, UnknownSchema

DEFAULT_SCHEMA = "words-1"
VECTOR_SCHEMA = "words-1+minilm-1"
SCHEMAS = (VECTOR_SCHEMA, DEFAULT_SCHEMA)  # no order of age or worth: where one is to be chosen, name it

_VECTOR_NUMBERS = {VECTOR_SCHEMA: 128}  # schemas that have a sentence vector
# What is decided on is what the journal keeps, to the bit, and a row stays near a kilobyte.
VECTOR_DECIMALS = 4

# Longer text only counts in `length`: the price of a decision must not be the caller's to choose.
READ_CHARACTERS = 4_000
MAX_TOKENS = 64
MAX_TOKEN_CHARACTERS = 32

_WORD = re.compile(r"[^\W_]+|[^\x00-\x7f\s]")  # a word, or one symbol beyond ASCII (an emoji is a word here)
_APOSTROPHES = str.maketrans("", "", "'\u2019\u02bc")
_QUOTES = re.compile('["\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d]')
_PHRASES = re.compile(r"\b(?:on top of|next to|in front of|close to)\b")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NUMBERS = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12, "dozen": 12, "pair": 2, "couple": 2, "both": 2, "twin": 2, "several": 4, "many": 6,
}  # fmt: skip
_RELATIONS = _words(
    "left right above below under underneath beneath behind beside between inside over atop near against "
    "opposite around facing holding"
)
_COLOURS = _words(
    "red orange yellow green blue purple violet pink brown black white gray grey cyan magenta teal turquoise beige "
    "gold golden silver maroon navy crimson scarlet lavender indigo olive lime"
)
_BACKGROUNDS = _words("background backgrounds backdrop")
_NEGATIONS = _words("no not none never nothing without except dont doesnt isnt arent lacking absent")
_TEXTS = _words(
    "text word words letter letters sign says saying reads reading written writing caption label logo title spelled "
    "spelling titled labeled"
)
_STYLES = _words(
    "photo photograph photorealistic realistic photography painting oil watercolor watercolour sketch drawing cartoon "
    "anime manga render rendering 3d illustration illustrated style styled cinematic pixel vector poster portrait "
    "abstract surreal impressionist cubist minimalist detailed hdr 4k 8k"
)
_JOINS = _words("and plus with")
# They tell nothing of a prompt's difficulty and would spend the model's few samples.
_SILENT = _words("a an the of is are it its this that to in on at")


def needs_vector(schema: str) -> bool:
    """Whether `extract` must be given a sentence vector for this schema. Raises UnknownSchema."""
    _check_schema(schema)
    return schema in _VECTOR_NUMBERS


def as_schema(features: PromptFeatures, schema: str) -> PromptFeatures | None:
    """The features as another schema has them, if they hold all of it: the vector is left out; None if they do not.

    So one row of the journal teaches policies of both schemas, and a variant with an encoder can stand beside one
    without.
    """
    if features.schema == schema:
        return features
    if features.schema == f"{schema}+minilm-1":
        return replace(features, schema=schema, vector=())
    return None


def extract(
    prompt: str,
    schema: str = DEFAULT_SCHEMA,
    key: bytes | None = None,
    vector: Sequence[float] | NDArray[np.floating] | None = None,
) -> PromptFeatures:
    """Features of one prompt; the same text and key give the same features in every process and on every machine.

    Numbers are in [0, 1], all names always present. Tokens are lower-case words in order of first appearance; with a
    `key`, a keyed hash of each, sorted, so that whatever is stored holds no word and no order. `vector` is the
    prompt's sentence vector where the schema has one, and is rounded to 4 decimals. Raises UnknownSchema, BadVector.
    """
    _check_schema(schema)
    kept_vector = _vector(schema, vector)
    text = prompt[:READ_CHARACTERS]
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)[:READ_CHARACTERS]  # some code points expand to eighteen
    text = text.lower().translate(_APOSTROPHES)
    words = _WORD.findall(text)
    distinct = dict.fromkeys(words)
    present = distinct.keys()

    joins = text.count(",") + text.count("&") + sum(word in _JOINS for word in words)
    relations = len(present & _RELATIONS) + len(_PHRASES.findall(text))
    colours = len(present & _COLOURS)
    styles = len(present & _STYLES)
    numbers = [_NUMBERS[word] for word in present & _NUMBERS.keys()]
    # isdecimal, not isdigit: int() refuses superscripts. Four digits are a year or a resolution, not a count.
    numbers += [int(word) for word in present if word.isdecimal() and len(word) <= 3 and int(word) > 1]
    background = not present.isdisjoint(_BACKGROUNDS)
    negation = not present.isdisjoint(_NEGATIONS)
    lettering = _QUOTES.search(text) is not None or not present.isdisjoint(_TEXTS)
    numeric = {
        "length": min(len(prompt) / 400, 1.0),
        "words": min(len(words) / 40, 1.0),
        "counted": float(bool(numbers)),
        "largest_number": min(max(numbers, default=0) / 10, 1.0),
        "joined": float(joins > 0),
        "joins": min(joins / 4, 1.0),
        "relation": float(relations > 0),
        "relations": min(relations / 4, 1.0),
        "colour": float(colours > 0),
        "colours": min(colours / 4, 1.0),
        "background": float(background),
        "negation": float(negation),
        "lettering": float(lettering),
        "style": float(styles > 0),
        "styles": min(styles / 4, 1.0),
        "foreign": 0.0 if text.isascii() else 1.0,
        "plain": float(not (numbers or joins or relations or background or negation or lettering)),
    }
    tokens = _tokens(distinct)
    return PromptFeatures(schema, numeric, tokens if key is None else _keyed(tokens, key), kept_vector)


def _check_schema(schema: str) -> None:
    if schema not in SCHEMAS:
        raise UnknownSchema(f"features schema {schema!r} is unknown; known: {', '.join(SCHEMAS)}")


def _vector(schema: str, given: Sequence[float] | NDArray[np.floating] | None) -> tuple[float, ...]:
    numbers = _VECTOR_NUMBERS.get(schema)
    if numbers is None:
        if given is not None:
            raise BadVector(f"features schema {schema!r} has no sentence vector, and one was given; leave it out, or "
                            f"ask for one of {', '.join(_VECTOR_NUMBERS)}")  # fmt: skip
        return ()
    if given is None:
        raise BadVector(f"features schema {schema!r} needs a sentence vector of {numbers} numbers, and none was given; "
                        f"encode the prompt, or ask for {DEFAULT_SCHEMA!r}")  # fmt: skip
    try:
        exact = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BadVector(f"a sentence vector that is no row of numbers: {error}; needed: {numbers} numbers") from error
    if exact.shape != (numbers,):
        raise BadVector(f"a sentence vector of shape {list(exact.shape)}; features schema {schema!r} needs [{numbers}]")
    if not np.isfinite(exact).all():
        raise BadVector(f"a sentence vector with numbers that are not finite; needed: {numbers} finite numbers")
    # Adding 0 turns -0.0 into 0.0. Divided by a power of ten, these are the doubles that their decimals are read as.
    rounded: list[float] = (np.round(exact, VECTOR_DECIMALS) + 0.0).tolist()
    return tuple(rounded)


def _tokens(words: dict[str, None]) -> tuple[str, ...]:
    tokens: dict[str, None] = {}
    for word in words:
        if word in _SILENT:
            continue
        tokens[word if word.isascii() and len(word) <= MAX_TOKEN_CHARACTERS else _hashed(word)] = None
        if len(tokens) == MAX_TOKENS:
            break
    return tuple(tokens)


def _hashed(word: str) -> str:
    """A stable name; no plain word can pose as one, since words are split at `_`."""
    return "h_" + blake2b(word.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def _keyed(tokens: tuple[str, ...], key: bytes) -> tuple[str, ...]:
    """Names that only holders of the key can compute. Raises ValueError for an empty key, which would hide nothing."""
    if not key:
        raise ValueError("the key of the prompt's tokens is empty; give at least one byte, or None for plain words")
    short = key if len(key) <= blake2s.MAX_KEY_SIZE else blake2s(key).digest()
    hashes = (blake2s(token.encode(), key=short, digest_size=6).hexdigest() for token in tokens)
    return tuple(sorted(f"h_{name}" for name in hashes))
