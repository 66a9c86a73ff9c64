"""A context in Vowpal Wabbit's text format; pure string building, VW itself is not imported.

Namespaces (VW tells them apart by their first letter):
    p  prompt features          t  prompt tokens          w  the caller's weights
    a  which arm it is          l  numbers of the arm: price, service time, what it would cost this caller now
    k  of which kind it is, by words that a new arm may share with old ones

Only names of [a-z0-9_] and finite numbers are ever written: `validation.check_context` comes first, and names that
an operator chose are spelled anew by `spell`. What belongs to an arm as such is built once and cached.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from math import log1p, log2

from .context import ArmContext, PromptFeatures, Weights

_OTHER_LETTERS = re.compile(r"[^a-z0-9_]")


def spell(name: str) -> str:
    """An operator's name in [a-z0-9_], still different from every other name's."""
    plain = _OTHER_LETTERS.sub("_", name.lower())
    if plain == name:
        return plain
    return f"{plain}_{blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=4).hexdigest()}"


def prompt_text(features: PromptFeatures) -> str:
    """Namespaces p and t. Zeros are left out: VW drops them anyway."""
    numbers = " ".join([f"{name}:{value:.6g}" for name, value in features.numeric.items() if value])
    return f"|p here {numbers} |t {' '.join(features.tokens)} "


def weights_text(weights: Weights) -> str:
    """Namespace w. Logarithms, since a caller's weight on USD may well be ten thousand."""
    return (
        f"|w quality:{log1p(weights.quality):.6g} latency:{log1p(weights.latency_per_s):.6g} "
        f"cost:{log1p(weights.cost_per_usd):.6g} "
    )


@lru_cache(maxsize=4096)
def arm_text(name: str, tier: str, preset: str, family: str) -> str:
    """Namespace a. Tier and family are there so that a new arm starts from what its likes have taught."""
    return f"|a arm_{spell(name)} tier_{spell(tier)} preset_{spell(preset)} family_{spell(family)} "


@lru_cache(maxsize=4096)
def name_text(name: str) -> str:
    """Namespace a, of what no other arm shares."""
    return f"|a arm_{spell(name)} "


@lru_cache(maxsize=4096)
def kind_text(preset: str, family: str, price_usd: float, service_s: float) -> str:
    """Namespace k: preset, family, price class and size, which is how long an image takes.

    Classes are the nearest powers of two. One word each: every further word that says the same has to be learned too.
    """
    return f"|k preset_{spell(preset)} family_{spell(family)} price_{_class(price_usd)} size_{_class(service_s)} "


def _class(amount: float) -> str:
    if amount <= 0:
        return "none"
    power = round(log2(amount))
    return f"m{-power}" if power < 0 else f"p{power}"


def load_text(arm: ArmContext, latency_s: float, penalty: float) -> str:
    """Namespace l. `penalty` is the known part of the utility: what time and money cost this caller."""
    return (
        f"|l price:{log1p(1000 * arm.price_usd):.6g} service:{log1p(arm.service_s):.6g} "
        f"latency:{log1p(latency_s):.6g} penalty:{min(penalty, 2.0):.6g}"
    )
