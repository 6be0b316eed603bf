"""Keys of the review workspace: which key does what for each reviewer.

Only what differs from the defaults is stored, so a key that the program adds later is there for everybody.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.contrib.auth.models import User

from detection.errors import Refused
from detection.models import ReviewerKeys

DEFAULTS = {
    "real": "r",
    "fake": "f",
    "no_face": "n",
    "unsure": "u",
    "skip": "s",
    "undo": "z",
    "slower": "[",
    "faster": "]",
    "loop": "l",
    "magnify": "m",
    "near": "d",
    "rescan": "g",
    "heatmaps": "h",
    "comment": "c",
    "help": "?",
}
"""Actions and their keys.  Space, arrows, Escape and the digits that choose a person are everybody's."""
FIXED = frozenset("123456789ax ")
"""Digits choose people, `a` and `x` tick and untick a contact sheet, space plays."""


def keys_of(user: User) -> dict[str, str]:
    """Return the key of each action; empty where it has none, as a new one whose default the reviewer had chosen."""
    row = ReviewerKeys.objects.filter(user=user).first()
    chosen = {action: key for action, key in (row.keys if row else {}).items() if action in DEFAULTS}
    taken = set(chosen.values()) - {""}
    return {action: chosen.get(action, "" if key in taken else key) for action, key in DEFAULTS.items()}


def set_keys(*, user: User, keys: Mapping[str, object]) -> dict[str, str]:
    """Store the reviewer's keys, and return all that are in force.

    Actions that are not named have their defaults; one whose key is empty has none.

    Raises Refused: `invalid_keys`, `key_not_allowed`, `key_taken`.
    """
    chosen: dict[str, str] = {}
    for action, key in keys.items():
        if action not in DEFAULTS or not isinstance(key, str):
            raise Refused("invalid_keys", "These are no keys of the workspace.")
        chosen[action] = _checked(key) if key else ""
    owners: dict[str, str] = {}
    for action, key in (DEFAULTS | chosen).items():
        other = owners.setdefault(key, action)
        if key and other != action:
            raise Refused("key_taken", f"The key {key} cannot mean two things.", status=409)
    differing = {action: key for action, key in chosen.items() if key != DEFAULTS[action]}
    if differing:
        ReviewerKeys.objects.update_or_create(user=user, defaults={"keys": differing})
    else:
        ReviewerKeys.objects.filter(user=user).delete()
    return keys_of(user)


def _checked(key: str) -> str:
    """Return what a keyboard says of the key, in lower case.  Raises Refused `key_not_allowed`."""
    key = key.lower()
    if key in FIXED:
        raise Refused("key_not_allowed", f"The key {key if key != ' ' else 'space'} has a meaning that stays.")
    if len(key) != 1 or not key.isprintable() or key > "\uffff" or key.isspace():
        raise Refused("key_not_allowed", "A key is one letter, digit or sign.")
    return key
