"""Language tags: which of the texts there are is for a user."""

from collections.abc import Mapping


def locale_key(tag: str) -> str:
    """Give the one spelling of a language tag: ``pt_BR`` and ``pt-br`` are the same."""
    return tag.lower().replace("_", "-")


def choose_locale(wanted: str, there: Mapping[str, object], default: str) -> str:
    """Give the best locale there is: ``pt-BR``, then ``pt``, then the default.

    Keys of `there` are as locale_key gives them. default is returned also when it is not there.
    """
    tag = locale_key(wanted)
    while tag:
        if tag in there:
            return tag
        tag = tag.rpartition("-")[0]
    return default
