"""What the configuration says of its keys: the texts below them in its source, read only when somebody asks.

Every process has the configuration, and few are asked what it means: reading the source took each a tenth of a second.
"""

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import cache


def words_of(table: type) -> dict[str, str]:
    """Return the text below each key of a table, and of those it is made of."""
    found: dict[str, str] = {}
    for kind in reversed(table.__mro__):
        body = _classes(kind.__module__).get(kind.__name__)
        if body is not None:
            found |= dict(_below(body))
    return found


@cache
def _classes(module: str) -> Mapping[str, ast.ClassDef]:
    """Return the classes of a module of ours by name; none of another one."""
    if not module.startswith("ioc."):
        return {}
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _below(body: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Yield keys, and the text that follows each at once."""
    for key, text in zip(body.body, body.body[1:], strict=False):
        if not (isinstance(key, ast.AnnAssign) and isinstance(key.target, ast.Name) and isinstance(text, ast.Expr)):
            continue
        if isinstance(text.value, ast.Constant) and isinstance(text.value.value, str):
            yield key.target.id, inspect.cleandoc(text.value.value)
