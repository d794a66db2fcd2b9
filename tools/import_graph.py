"""Which module of a package imports which, and the cycles among them."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

Graph = dict[str, set[str]]


def modules(package: Path) -> dict[str, Path]:
    """Dotted names of all modules in `package`, and their files."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        found[".".join(parts)] = path
    return found


def imports(package: Path) -> Graph:
    """Edges from each module to those of the same package that it imports.

    Imports inside functions count, those for type checkers alone do not.
    """
    known = modules(package)
    graph: Graph = {name: set() for name in known}
    for name, path in known.items():
        tree = ast.parse(path.read_text("utf-8"))
        is_package = path.name == "__init__.py"
        for node in _import_nodes(tree):
            for target in _targets(node, name, is_package, known):
                if target != name:
                    graph[name].add(target)
    return graph


def by_top_level(graph: Graph, root: str) -> Graph:
    """The same edges between the entries directly below `root`."""
    merged: Graph = {}
    for source, targets in graph.items():
        start = _entry(source, root)
        edges = merged.setdefault(start, set())
        for target in targets:
            end = _entry(target, root)
            if end != start:
                edges.add(end)
    merged.pop(root, None)
    return {name: edges - {root} for name, edges in merged.items()}


def cycles(graph: Graph) -> list[list[str]]:
    """Groups of nodes that reach each other (strongly connected, two nodes or more)."""
    reach = {node: _reachable(graph, node) for node in graph}
    groups, seen = [], set()
    for node in sorted(graph):
        if node in seen or node not in reach[node]:
            continue
        group = sorted(other for other in reach[node] if node in reach.get(other, ()))
        seen.update(group)
        groups.append(group)
    return groups


def _reachable(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(graph.get(node, ()))
    return found


def _entry(module: str, root: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else root


def _import_nodes(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        else:
            yield from _import_nodes(node)


def _targets(
    node: ast.Import | ast.ImportFrom, module: str, is_package: bool, known: Mapping[str, Path]
) -> Iterator[str]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        base = _absolute(node, module, is_package)
        names = []
        for alias in node.names:
            inner = f"{base}.{alias.name}"
            names.append(inner if inner in known else base)
    for name in names:
        if name in known:
            yield name


def _absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if node.level == 0:
        return node.module or ""
    parts = module.split(".")
    drop = node.level - 1 if is_package else node.level
    parts = parts[: len(parts) - drop]
    return ".".join([*parts, node.module] if node.module else parts)
