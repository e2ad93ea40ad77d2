"""The source of Ultralytics' model parser, compiled with code around its dispatch.

`ultralytics.nn.tasks.parse_model` builds the layers. Its dispatch on a row's module ends in `else: c2 = ch[f]`. The
code around it, which `inserted` has the functions of, reads the rows of registered modules, by their channel rule or by
the dispatch itself, and adds their names to those that the parser looks up. The rest is Ultralytics' own source,
compiled under its own file name with its own line numbers, so tracebacks and breakpoints still show it.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from yolo_focal.errors import UnsupportedUltralyticsError

TESTED = "8.1.0 to 8.4.190"

_TASKS = "ultralytics.nn.tasks"
_NO_SOURCE = "could not get source code"  # inspect's words


class Recoded(NamedTuple):
    """A parser whose `__code__` is exchanged.

    Attributes:
        function: The parser.
        original: Its own code.
        patched: The code with the patch.
        leaves_nc: Whether it scales no row that has as many channels as there are classes; newer ones no classifier's.
    """

    function: Any
    original: CodeType
    patched: CodeType
    leaves_nc: bool


def recompile(parse_model: Any) -> Recoded:
    """Recompile `parse_model`, or the function that it wraps, with the code around its dispatch.

    Raises:
        UnsupportedUltralyticsError: It is no parser that can be extended, or its source is not there.
    """
    reasons = []
    for function in wrapped(parse_model, set()):
        try:
            leaves_nc = "c2 != nc" in inspect.getsource(function.__code__)
            return Recoded(function, function.__code__, _compile(function), leaves_nc)
        except (OSError, TypeError, SyntaxError, ValueError) as error:
            reasons.append(str(error))
    raise _unsupported(reasons[0] if reasons else f"parse_model is {parse_model!r}")


def wrapped(function: Any, seen: set[int]) -> Iterator[FunctionType]:
    """Yield a function, then the functions in its attributes, its closure and its globals: it may be a wrapper."""
    if id(function) in seen or len(seen) > 100:
        return
    seen.add(id(function))
    inner = [getattr(function, name, None) for name in ("__wrapped__", "func", "__func__")]
    if isinstance(function, FunctionType):
        yield function
        with contextlib.suppress(ValueError):  # a closure variable that is not yet assigned
            variables = inspect.getclosurevars(function)
            inner += [*variables.nonlocals.values(), *variables.globals.values()]
    for candidate in inner:
        if callable(candidate) and not isinstance(candidate, type):
            yield from wrapped(candidate, seen)


def _compile(function: FunctionType) -> CodeType:
    """Recompile a parser's source with the code around its dispatch.

    Raises:
        ValueError: The function is not a parser with one dispatch that ends in `else: c2 = ch[f]`.
    """
    if function.__closure__:
        raise ValueError(f"{function.__qualname__} of {function.__module__} has a closure")
    # The source of the code object, because that of the function would be that of a function that it wraps.
    lines, first_line = inspect.getsourcelines(function.__code__)
    tree = ast.parse("".join(lines)).body[0]
    dispatches = [
        (body, position)
        for node in ast.walk(tree)
        for body in [getattr(node, "body", None)]
        if isinstance(body, list)
        for position, statement in enumerate(body)
        if is_dispatch(statement)
    ]
    if not isinstance(tree, ast.FunctionDef) or len(dispatches) != 1:
        raise ValueError(f"parse_model ends {len(dispatches)} branches with `else: c2 = ch[f]`, where one is expected")
    body, position = dispatches[0]
    dispatch, built = body[position], body[position + 1 :]
    constructor = _Constructor()
    body[position + 1 :] = [constructor.visit(statement) for statement in built]
    if not constructor.calls:
        raise ValueError("parse_model does not build a layer with m(*args) after its dispatch")
    reading = ast.parse(_READING).body
    for statement in reading:
        _set_location(statement, dispatch)  # a traceback of an error in it shows the parser's first `if`
    if "legacy" in function.__code__.co_varnames:  # 8.3 and later
        reading += ast.parse("legacy = _yolo_focal.legacy_behind(d, _yolo_focal_row, legacy)").body
        _set_location(reading[-1], dispatch)
    around = next(node for node in ast.walk(reading[1]) if isinstance(node, ast.With))
    around.body = [dispatch]
    body[position : position + 1] = reading
    tree = _ThreeNumbers().visit(tree)

    # The parser looks up a row's module as `globals()[name]`. The code shadows `globals` with `names`, as a local
    # variable of the function, so that a call in another thread is not affected when the patch is deactivated.
    start = 1 if ast.get_docstring(tree) is not None else 0
    preamble = ast.parse(
        "from yolo_focal.hook import inserted as _yolo_focal\n"
        "from yolo_focal.hook.inserted import names as globals\n"
        "_yolo_focal.check_rows(d)"
    ).body
    for statement in preamble:
        _set_location(statement, tree.body[start])
    tree.body[start:start] = preamble
    tree.decorator_list = []
    ast.increment_lineno(tree, first_line - 1)
    module = compile(
        ast.Module([tree], []), function.__code__.co_filename, "exec", _future_flags(function), dont_inherit=True
    )
    return next(const for const in module.co_consts if isinstance(const, CodeType))


# What stands in the place of the parser's dispatch, which takes the place of `...`. `m` is what the parser compares
# with its classes afterwards; the layer is built by another name.
_READING = """
_yolo_focal_row = _yolo_focal.read(d, i, m, args, ch, n)
if _yolo_focal_row.is_read_by_rule:
    c2, args, n = _yolo_focal_row.result
else:
    args = _yolo_focal_row.args
    with _yolo_focal_row:
        ...
m, _yolo_focal_constructor, args = _yolo_focal_row.constructor(m, args, c2, n)
"""


class _Constructor(ast.NodeTransformer):
    """Lets `m(...)` and `str(m)`, which build a layer and name its type, mean the constructor of its row."""

    calls = 0

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "m":
            self.calls += 1
            node.func.id = "_yolo_focal_constructor"
        elif ast.unparse(node) == "str(m)":
            node.args = [ast.copy_location(ast.Name("_yolo_focal_constructor", ast.Load()), node.args[0])]
        return node


class _ThreeNumbers(ast.NodeTransformer):
    """Lets the parser read the first three numbers of a scale that has more, as those of some forks do."""

    def visit_Assign(self, node: ast.Assign) -> ast.Assign:
        if ast.unparse(node.value) == "scales[scale]" and ast.unparse(node.targets[0]).count(",") == 2:
            value = ast.parse("scales[scale][:3]", mode="eval").body
            _set_location(value, node)
            node.value = value
        return node


def _set_location(tree: ast.AST, source: ast.stmt) -> None:
    """Give every node of a tree the line and column at which a statement begins."""
    for node in ast.walk(tree):
        ast.copy_location(node, source)
        # Where it ends too, or Python counts a call of a method to the statement's last line.
        if isinstance(node, (ast.stmt, ast.expr)):
            node.end_lineno, node.end_col_offset = source.lineno, source.col_offset


def is_dispatch(node: ast.stmt) -> bool:
    """Return whether a statement is an `if` whose final `else` is `c2 = ch[f]`."""
    while isinstance(node, ast.If) and len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
        node = node.orelse[0]
    return isinstance(node, ast.If) and _is_default(node.orelse)


def _is_default(body: list[ast.stmt]) -> bool:
    return len(body) == 1 and ast.unparse(body[0]) == "c2 = ch[f]"


def _future_flags(function: FunctionType) -> int:
    import __future__

    flags = (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
    return functools.reduce(int.__or__, flags, 0) & function.__code__.co_flags


def _unsupported(reason: str) -> UnsupportedUltralyticsError:
    version = importlib.import_module("ultralytics").__version__
    if reason == _NO_SOURCE:
        return UnsupportedUltralyticsError(
            f"Ultralytics {version} cannot be extended: the source of {_TASKS} is not there, as in a frozen "
            "application. Have it include the file ultralytics/nn/tasks.py: with PyInstaller, "
            'module_collection_mode={"ultralytics": "pyz+py"}'
        )
    return UnsupportedUltralyticsError(
        f"Ultralytics {version} cannot be extended: {reason}. Tested are {TESTED}: install one of these, such as "
        f"`pip install ultralytics=={TESTED.split()[-1]}`"
    )
