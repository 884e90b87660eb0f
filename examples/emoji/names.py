"""The objects of emoji world: their names, grammar, kinds, and icon names in each emoji set."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

TRAINING_STYLES = ("noto", "noto-v1", "twemoji", "emojione", "streamline-emojis", "fxemoji")
FLUENT_STYLES = ("fluent-emoji-flat", "fluent-emoji", "fluent-3d")  # held out, test only

NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}


@dataclass(frozen=True)
class Name:
    """One nameable object; `icons` maps an emoji set to its icon's name there."""

    name: str
    code: str
    noun: Literal["count", "plural", "mass"]
    plural: str
    group: str
    subgroup: str
    kind: str
    icons: dict[str, str]

    @property
    def verb(self) -> str:
        """The verb that goes with one of it."""
        return "are" if self.noun == "plural" else "is"

    def indefinite(self, count: int = 1) -> str:
        """`a dog`, `an owl`, `bread`, `two dogs`."""
        if count > 1:
            return f"{NUMBERS[count]} {self.plural}"
        return with_article(self.name) if self.noun == "count" else self.name

    def described(self, words: str) -> str:
        """`a large red apple`, `large red cherries`; `words` come before the name."""
        phrase = f"{words} {self.name}".strip()
        return with_article(phrase) if self.noun == "count" else phrase


def with_article(phrase: str) -> str:
    """Put `a` or `an` before a phrase."""
    sounds_like_you = phrase.startswith("unicorn")
    return f"an {phrase}" if phrase[0] in "aeiou" and not sounds_like_you else f"a {phrase}"


def joined(parts: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


@cache
def load_names() -> dict[str, Name]:
    """Read names.json, which lies beside this file."""
    entries = json.loads(Path(__file__).with_name("names.json").read_text(encoding="utf-8"))
    return {name: Name(name=name, **entry) for name, entry in entries.items()}
