"""An audience expression as Redis set commands, evaluated inside one shard."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from schemas.segments import Combined, Expression
from state import keys
from state.redis_client import Call, Script

# KEYS: the segments, then scratch keys. ARGV[1]: msgpack of how many scratch keys there are, and
# of the steps {command, operands, target}, as positions in KEYS; target 0 answers with the members.
# Scratch keys go even when a step fails (out of memory, a key of another type).
_EVALUATE = Script(
    "segment expression",
    """
local scratch, steps = unpack(cmsgpack.unpack(ARGV[1]))
local function run()
  local answer
  for _, step in ipairs(steps) do
    local words = {step[1]}
    if step[3] > 0 then words[2] = KEYS[step[3]] end
    for _, at in ipairs(step[2]) do words[#words + 1] = KEYS[at] end
    answer = redis.call(unpack(words))
  end
  return answer
end
local ok, answer = pcall(run)
for i = #KEYS - scratch + 1, #KEYS do redis.call('UNLINK', KEYS[i]) end
if not ok then error(answer) end
return answer
""",
)
_COMMANDS = {"&": "SINTER", "|": "SUNION", "-": "SDIFF"}
_encode = msgspec.msgpack.Encoder().encode


class Plan:
    """An expression as Redis set commands: one step per run of equal operators.

    names: the segments, KEYS[1] and on. steps: (command, operands, target) with positions in
    KEYS from 1; the last target is 0, so that its members are the answer. counting: the last
    step stores its result as well, because Redis then answers with its size.
    """

    def __init__(self, expression: Expression, *, counting: bool = False) -> None:
        self.names: list[str] = []
        self.steps: list[tuple[str, list[int], int]] = []
        self._collect(expression)
        self._scratch = 0
        if isinstance(expression, str):
            self.steps.append(("SUNION", [1], 0))
        else:
            self._add(expression)
            self._scratch -= 0 if counting else 1
        command, operands, target = self.steps[-1]
        if not counting:
            target, command = 0, command.removesuffix("STORE")
        self.steps[-1] = (command, operands, target)

    @property
    def is_one_read(self) -> bool:
        """Whether one command answers, without scratch keys."""
        return len(self.steps) == 1 and not self._scratch

    def where(self, tenant: str, shard: int, generations: Mapping[str, str]) -> list[str]:
        """Give the keys of the segments, in the order of names."""
        return [
            keys.segment_key(tenant, shard, name, generations.get(name, "")) for name in self.names
        ]

    def call(self, tenant: str, shard: int, generations: Mapping[str, str]) -> Call:
        """Make the script call for one shard. generations: those that count, by name."""
        where = self.where(tenant, shard, generations)
        where += [keys.scratch_key(tenant, shard, n) for n in range(self._scratch)]
        program: Sequence[Any] = (self._scratch, self.steps)
        return Call(_EVALUATE, where, [_encode(program)])

    def _collect(self, tree: Expression) -> None:
        if isinstance(tree, Combined):
            self._collect(tree.left)
            self._collect(tree.right)
        elif tree not in self.names:
            self.names.append(tree)

    def _add(self, tree: Expression) -> int:
        """Append the steps for a tree; give the position of its result in KEYS."""
        if isinstance(tree, str):
            return self.names.index(tree) + 1
        operands = [self._add(part) for part in _run(tree)]
        self._scratch += 1
        target = len(self.names) + self._scratch
        self.steps.append((f"{_COMMANDS[tree.operator]}STORE", operands, target))
        return target


def _run(tree: Combined) -> list[Expression]:
    """Flatten the left side while the operator stays: ((a - b) - c) is SDIFF a b c."""
    parts: list[Expression] = [tree.right]
    left = tree.left
    while isinstance(left, Combined) and left.operator == tree.operator:
        parts.append(left.right)
        left = left.left
    return [left, *reversed(parts)]
