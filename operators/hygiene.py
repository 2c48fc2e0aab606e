"""Token hygiene: too many dead tokens at once are our mistake until somebody says otherwise.

A wrong environment, key or topic makes a provider call every token bad. A credential (an app of a
tenant) whose answers look like that is frozen: its tokens are sent to, but none is pruned.
"""

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from operators.settle import Settled
from schemas.outcomes import Status, TokenAction
from schemas.pipeline import Platform
from schemas.tenant import Tenant, TokenHygiene
from state.errors import StateError
from state.pruning import PARTS, Answers, Counted, Credential, Freeze, Pruning

SHARE_EVERY_MS = 1_000
AFTER_FAILURE_MS = 30_000
"""A Redis that hangs holds the flow up for the client's timeout: seldom enough not to matter."""

App = tuple[str, str]
"""A tenant and its app: a credential of this process's platform."""


class Alarm(Protocol):
    """Told what operators must know."""

    def frozen(self, freeze: Freeze) -> None:
        """Say that a credential is frozen, by this process or another; once each time."""
        ...

    def resumed(self, credential: Credential) -> None:
        """Say that somebody ended a freeze."""
        ...

    def withheld(self, credential: Credential, count: int) -> None:
        """Count dead tokens that were not pruned."""
        ...

    def unshared(self, error: StateError) -> None:
        """Say that what this process counted and froze is known to itself only."""
        ...


class Hygiene:
    """Counts what providers say about tokens and freezes credentials that look wrong.

    It trips at once on what this process has seen, so one process prunes fewer than min_deaths
    tokens of a credential that went wrong, however well it looked before. Once a second it adds
    its counts to those of all processes, trips on their sum, and learns who is frozen elsewhere:
    the hot path makes no call. When the state is away it goes on with what it knows.
    Times are those of the answers, by the wall clock, in epoch ms. For one thread.
    """

    def __init__(
        self, tenants: Mapping[str, Tenant], pruning: Pruning, platform: Platform, alarm: Alarm
    ) -> None:
        self._tenants = tenants
        self._pruning = pruning
        self._platform = platform
        self._alarm = alarm
        self._default = TokenHygiene()
        self._runs: dict[App, _Run] = {}
        self._unshared: Counter[App] = Counter()
        self._unshared_dead: Counter[App] = Counter()
        self._reasons: dict[App, str] = {}
        self._frozen: dict[App, Freeze] = {}
        self._unsaved: set[App] = set()
        self._now_ms = 0
        self._share_at_ms = 0

    def __call__(self, settled: list[Settled]) -> Collection[App]:
        """Take a batch of answers; give the apps whose dead tokens may not be pruned.

        An app that trips in this batch is among them, so none of the batch is pruned.
        """
        if settled:
            self.tick(settled[-1].answered_at_ms, busy=True)
        answered = Counter(_app(one) for one in settled if _judges(one))
        dead = [one for one in settled if one.answer.token_action is not TokenAction.KEEP]
        dead_of = Counter(map(_app, dead))
        self._reasons.update((_app(one), str(one.answer.reason)) for one in dead)
        for app, count in answered.items():
            if app not in self._frozen:
                self._count(app, Answers(count, dead_of[app]))
        if self._frozen:
            deleted = (_app(one) for one in dead if one.answer.token_action is TokenAction.DELETE)
            for app, count in Counter(deleted).items():
                if app in self._frozen:
                    self._alarm.withheld(self._credential(app), count)
        return self._frozen.keys()

    def tick(self, now_ms: int, *, busy: bool = False) -> None:
        """Share and learn when that is due; so that an idle process, too, learns of a resume."""
        self._now_ms = max(self._now_ms, now_ms)
        is_first = not self._share_at_ms
        if self._now_ms >= self._share_at_ms and (
            busy or is_first or self._frozen or self._unshared
        ):
            self._share()

    def _count(self, app: App, answers: Answers) -> None:
        limits = self._limits(app)
        run = self._runs.setdefault(app, _Run())
        seen = run.add(answers, self._now_ms, limits)
        self._unshared[app] += answers.answered
        self._unshared_dead[app] += answers.dead
        if _is_burst(seen, limits):
            self._freeze(app, seen)
            self._share()

    def _freeze(self, app: App, seen: Answers) -> None:
        reason = self._reasons.get(app, "")
        freeze = Freeze(*self._credential(app), self._now_ms, *seen, reason)
        self._frozen[app] = freeze
        self._unsaved.add(app)
        self._forget(app)
        self._alarm.frozen(freeze)

    def _forget(self, app: App) -> None:
        for counts in (self._runs, self._unshared, self._unshared_dead):
            counts.pop(app, None)

    def _share(self) -> None:
        """Add what was counted here to what was counted elsewhere; learn who is frozen."""
        self._share_at_ms = self._now_ms + SHARE_EVERY_MS
        unshared, dead = self._unshared, self._unshared_dead
        self._unshared, self._unshared_dead = Counter(), Counter()
        counts = [
            Counted(
                self._credential(app), Answers(count, dead[app]), self._limits(app).window_s * 1_000
            )
            for app, count in unshared.items()
        ]
        try:
            windows = self._pruning.count_many(counts, self._now_ms) if counts else []
            for app, window in zip(unshared, windows, strict=True):
                limits = self._limits(app)
                seen = next((one for one in _newest(window) if _is_burst(one, limits)), None)
                if seen is not None and app not in self._frozen:
                    self._freeze(app, seen)
            for app in tuple(self._unsaved):
                self._pruning.freeze(self._frozen[app])
                self._unsaved.discard(app)
            self._learn(self._pruning.frozen())
        except StateError as error:
            # The counts are lost to the others rather than counted twice; the runs here go on.
            self._share_at_ms = self._now_ms + AFTER_FAILURE_MS
            self._alarm.unshared(error)

    def _learn(self, frozen: list[Freeze]) -> None:
        known = {(f.tenant, f.app): f for f in frozen if f.platform is self._platform}
        for app in self._frozen.keys() - known.keys():
            del self._frozen[app]
            self._alarm.resumed(self._credential(app))
        for app, freeze in known.items():
            if app not in self._frozen:
                self._forget(app)
                self._alarm.frozen(freeze)
            self._frozen[app] = freeze

    def _limits(self, app: App) -> TokenHygiene:
        tenant = self._tenants.get(app[0])
        return tenant.hygiene if tenant is not None else self._default

    def _credential(self, app: App) -> Credential:
        return Credential(*app, self._platform)


class _Run:
    """A credential's answers since it last looked well, at most a window's.

    Each addition after which the share is not too high ends the run, as in Page's CUSUM test: so
    a long good time before does not hide a burst.
    """

    def __init__(self) -> None:
        self._parts: deque[tuple[int, Answers]] = deque()

    def add(self, answers: Answers, now_ms: int, limits: TokenHygiene) -> Answers:
        """Give the run's sum with these."""
        part = now_ms * PARTS // (limits.window_s * 1_000)
        if self._parts and self._parts[-1][0] == part:
            answers = _sum((self._parts.pop()[1], answers))
        self._parts.append((part, answers))
        while self._parts[0][0] <= part - PARTS:
            self._parts.popleft()
        seen = _sum(answers for _, answers in self._parts)
        if seen.dead <= limits.max_share * seen.answered:
            self._parts.clear()
        return seen


def _is_burst(seen: Answers, limits: TokenHygiene) -> bool:
    return seen.dead >= limits.min_deaths and seen.dead > limits.max_share * seen.answered


def _newest(window: list[Answers]) -> Iterable[Answers]:
    """Give the sums of the newest part, of the newest two, and so on."""
    for parts in range(1, len(window) + 1):
        yield _sum(window[-parts:])


def _sum(parts: Iterable[Answers]) -> Answers:
    answered = dead = 0
    for part in parts:
        answered += part.answered
        dead += part.dead
    return Answers(answered, dead)


def _app(one: Settled) -> App:
    return one.delivery.tenant, one.delivery.app


def _judges(one: Settled) -> bool:
    """Tell whether an answer says something about its token: an outage or a throttle does not."""
    return one.answer.status is Status.SENT or one.answer.token_action is not TokenAction.KEEP
