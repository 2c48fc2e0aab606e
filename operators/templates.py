"""Jinja, fenced in: a template sees what it is given, for a bounded time, and nothing else.

Whatever goes wrong inside becomes a RenderError, so that one bad template stops one message and not
the process. Steps are counted, and what is built is bounded (operators/template_bounds).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import msgspec
from jinja2 import StrictUndefined, Template, Undefined, meta, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from operators.flags import FLAGS
from operators.formats import FILTERS, PLAIN, ZONED, Setting
from operators.template_bounds import (
    BINOPS,
    BOUNDED_FILTERS,
    JOINED,
    WithoutConcat,
    check_binop,
    check_call,
    check_filter,
    check_format,
    check_output,
    joined,
)

TEMPLATES_KEPT = 1_024
MAX_TEXT_CHARS = 4_000  # as for texts that come with the event
MAX_STEPS = 20_000
"""Turns of loops and calls in one text: a few milliseconds, far more than a notification needs."""
FORMAT_STEPS = 20
"""What writing a number or a date costs of these."""
OUTPUT_PER_STEP = 32
TELLING_CHARS = 4
HIDDEN = "(hidden)"
USER = "user"
_COUNTED = "counted"
_RESULT = "result"

_encode_json = msgspec.json.Encoder().encode
_decode_json = msgspec.json.Decoder().decode

_steps_left: ContextVar[list[int]] = ContextVar("steps_left")
_setting: ContextVar[Setting] = ContextVar("setting")


class RenderError(ValueError):
    """A text is no template or failed on the variables it got; the message names the cause."""


def _spend(steps: int = 1) -> None:
    left = _steps_left.get(None)
    if left is None:  # folded while compiling
        return
    left[0] -= steps
    if left[0] < 0:
        raise SecurityError(f"more than {MAX_STEPS} turns of loops and calls")


def _counted_output(value: Any) -> Any:
    """Count what is put out, as a loop inside {% set %} may put out a large value very often."""
    kind = type(value)
    if kind is not int and not (kind is str and len(value) < OUTPUT_PER_STEP):
        _spend(check_output(value) // OUTPUT_PER_STEP)
    return value


@pass_context
def _counted(_context: Context, items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        _spend()
        yield item


def _formatting(write: Callable[..., str]) -> Callable[..., str]:
    """Make a filter of a function of operators.formats; with the context, it is never folded."""

    @pass_context
    def written(_context: Context, value: Any, *args: Any, **options: Any) -> str:
        _spend(FORMAT_STEPS)
        if isinstance(value, Undefined):
            value = str(value)  # raises, naming the variable
        return write(value, _setting.get(), *args, **options)

    return written


def _bounded(name: str, filter_: Callable[..., Any]) -> Callable[..., Any]:
    """Make one of Jinja's filters look at the lengths first."""
    wants = getattr(getattr(filter_, "jinja_pass_arg", None), "name", "")

    @pass_context
    def bounded(context: Context, value: Any, *args: Any, **options: Any) -> Any:
        checked = check_filter(name, value, args, options)
        if wants == "eval_context":
            return filter_(context.eval_ctx, checked, *args, **options)
        if wants == "environment":
            return filter_(context.environment, checked, *args, **options)
        return filter_(checked, *args, **options)

    return bounded


class _Fence(ImmutableSandboxedEnvironment):
    """No attributes of Python's insides, no changes to what is given, no endless work."""

    intercepted_binops = BINOPS

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, autoescape=False, finalize=_counted_output)
        self.filters[_COUNTED] = _counted
        self.filters[JOINED] = joined
        self.filters.update({name: _bounded(name, self.filters[name]) for name in BOUNDED_FILTERS})
        self.filters.update({name: _formatting(write) for name, write in FILTERS.items()})
        # These make as much text as a number says.
        del self.globals["lipsum"], self.filters["center"], self.filters["indent"]

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call what the template calls, while it has steps left."""
        _spend()
        return super().call(context, obj, *check_call(obj, args, kwargs), **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Work out a sum or a product, unless it builds too much."""
        check_binop(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Give str.format as the sandbox has it, unless it builds too much."""
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None

        def bounded(*args: Any, **kwargs: Any) -> str:
            check_format(value.__self__, args, kwargs)
            return wrapped(*args, **kwargs)

        return bounded

    def parsed(self, source: str) -> nodes.Template:
        """Parse a text, and count the turns of its loops and what `~` builds."""
        tree: nodes.Template = WithoutConcat().visit(self.parse(source))
        for loop in list(tree.find_all(nodes.For)):
            loop.iter = nodes.Filter(loop.iter, _COUNTED, [], [], None, None, lineno=loop.lineno)
        return tree


_fence = _Fence()
GLOBALS = frozenset(_fence.globals)
"""What every template may use beside its variables, such as range."""


class CompiledText:
    """One Jinja text.

    per_user: it reads something of the user, so nothing can be shared. localized, zoned: numbers or
    dates in it depend on the reader's locale or time zone. names: what it reads.
    """

    __slots__ = ("_template", "localized", "names", "per_user", "zoned")

    def __init__(self, source: str) -> None:
        """Compile. Raises RenderError."""
        _steps_left.set([MAX_STEPS])  # constants are put out while compiling
        try:
            tree = _fence.parsed(source)
            self.names = frozenset(meta.find_undeclared_variables(tree))
            self.per_user = not self.names.isdisjoint({USER, FLAGS})
            used = {found.name for found in tree.find_all(nodes.Filter)}
            by_name = "map" in used  # whose argument may be the name of any filter
            self.zoned = by_name or not used.isdisjoint(ZONED)
            self.localized = by_name or not used.isdisjoint(FILTERS)
            code = _fence.compile(tree)
            # A plain dict: Jinja's own chain of two costs a third of the time to render.
            self._template = Template.from_code(_fence, code, dict(_fence.globals))
        except Exception as error:  # jinja2's parser, or Python's on what it made
            raise _render_error(error) from error

    def render(self, variables: Mapping[str, Any], setting: Setting = PLAIN) -> str:
        """Fill in the variables, at most MAX_TEXT_CHARS. Raises RenderError and nothing else."""
        _steps_left.set([MAX_STEPS])
        _setting.set(setting)
        pieces: list[str] = []
        length = 0
        try:
            for piece in self._template.generate(variables):
                pieces.append(piece)
                length += len(piece)
                if length >= MAX_TEXT_CHARS:
                    break
        except Exception as error:  # a template can raise whatever Python can
            raise _render_error(error, variables) from error
        return "".join(pieces)[:MAX_TEXT_CHARS]


def _render_error(error: Exception, variables: Mapping[str, Any] | None = None) -> RenderError:
    """Name the cause, without the values: a code or a name must not get into logs."""
    text = f"{type(error).__name__}: {str(error)[:MAX_TEXT_CHARS]}"
    for value in sorted(set(_texts(variables or {})), key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return RenderError(text[:200])


def _texts(value: Any) -> Iterator[str]:
    """Give the texts and numbers in a value that are long enough to tell something."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
    elif value is not None and not isinstance(value, bool) and len(str(value)) >= TELLING_CHARS:
        yield str(value)


@lru_cache(maxsize=TEMPLATES_KEPT)
def compiled(source: str) -> CompiledText:
    """Compile a text once. Raises RenderError."""
    return CompiledText(source)


def is_expression(source: str) -> bool:
    """Tell whether a text is one Jinja expression and nothing else."""
    bare = source.strip()
    return bare.startswith("{{") and bare.endswith("}}") and bare.count("{{") == 1


class CompiledValue(CompiledText):
    """One Jinja expression that gives a value instead of a text."""

    __slots__ = ("_assignment",)

    def __init__(self, source: str) -> None:
        """Compile "{{ expression }}". Raises RenderError."""
        super().__init__(source)
        try:
            inner = source.strip()[2:-2].strip("-+")
            tree = _fence.parsed(f"{{% set {_RESULT} = ({inner}) %}}")
            self._assignment = Template.from_code(
                _fence, _fence.compile(tree), dict(_fence.globals)
            )
        except Exception as error:  # as in CompiledText
            raise _render_error(error) from error

    def value(self, variables: Mapping[str, Any], setting: Setting = PLAIN) -> Any:
        """Give the value, which is JSON. Raises RenderError and nothing else."""
        _steps_left.set([MAX_STEPS])
        _setting.set(setting)
        try:
            context = self._assignment.new_context(dict(variables))
            deque(self._assignment.root_render_func(context), maxlen=0)
            found = context.vars[_RESULT]
            if isinstance(found, Undefined):
                str(found)  # raises, naming the variable
            return _decode_json(_encode_json(found))
        except Exception as error:  # a template can raise whatever Python can
            raise _render_error(error, variables) from error


@lru_cache(maxsize=TEMPLATES_KEPT)
def compiled_value(source: str) -> CompiledValue:
    """Compile an expression once. Raises RenderError."""
    return CompiledValue(source)
