"""Counts about tokens and freezes in memory; as memory.py."""

from collections.abc import Sequence

from state import keys
from state.pruning import PARTS, Answers, Counted, Credential, Freeze, part_ms


class MemoryPruning:
    """Counts and freezes in dicts; see Pruning."""

    def __init__(self) -> None:
        self._counts: dict[Credential, tuple[int, dict[int, Answers]]] = {}
        self._frozen: dict[Credential, Freeze] = {}

    def count_many(self, counts: Sequence[Counted], now_ms: int) -> list[list[Answers]]:
        """See Pruning."""
        return [self._count(*one, now_ms) for one in counts]

    def freeze(self, found: Freeze) -> None:
        """See Pruning."""
        keys.pruning_field(*found.credential)
        self._frozen.setdefault(found.credential, found)

    def frozen(self) -> list[Freeze]:
        """See Pruning."""
        return [self._frozen[credential] for credential in sorted(self._frozen)]

    def resume(self, credential: Credential) -> bool:
        """See Pruning."""
        keys.pruning_field(*credential)
        self._counts.pop(credential, None)
        return self._frozen.pop(credential, None) is not None

    def _count(
        self, credential: Credential, answers: Answers, window_ms: int, now_ms: int
    ) -> list[Answers]:
        keys.pruning_key(*credential)
        length_ms = part_ms(window_ms)
        part = now_ms // length_ms
        length_before, parts = self._counts.get(credential, (length_ms, {}))
        if length_before != length_ms:
            parts = {}
        old = parts.get(part, Answers(0, 0))
        parts[part] = Answers(old.answered + answers.answered, old.dead + answers.dead)
        window = range(part - PARTS + 1, part + 1)
        # A clock ahead of ours may have counted; what lies after `part` stays.
        kept = {number: counted for number, counted in parts.items() if number >= window[0]}
        self._counts[credential] = (length_ms, kept)
        return [kept.get(number, Answers(0, 0)) for number in window]
