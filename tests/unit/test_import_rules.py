"""The shape of the code: who may import whom, how long things may get, and what must not be in the repository."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Dependencies point one way: a module imports those of its own line and of the lines above it.
LAYERS = (
    {"bus.catalog", "bus.envelope", "bus.errors", "bus.retry", "bus.schemas", "bus.splice"},
    {"bus.conf", "bus.handlers"},
    {"bus.deadletters", "bus.embedded", "bus.inbox", "bus.kafka", "bus.ledger", "bus.migrations", "bus.models"},
    {
        "bus.activity",
        "bus.alerts",
        "bus.audit",
        "bus.browsing",
        "bus.consumer",
        "bus.control",
        "bus.deadletterindex",
        "bus.history",
        "bus.lag",
        "bus.monitor",
        "bus.presence",
        "bus.producer",
        "bus.replay",
    },
    {"bus", "bus.apps"},
    {"bus.management"},
    {"eventconsole"},
    {"tests"},
)
FACING_PEOPLE = {"eventconsole", "ninja", "channels", "daphne", "tests"}
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "services", "misc"}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40
LOCKS_WITH_ADDRESSES = ("uv.lock", "pylock.toml", "poetry.lock", "Pipfile.lock", "package-lock.json")
# In two parts, because this file is searched as well.
REGISTRIES = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs"),
        ("crates", "io"),
        ("repo", "maven"),
        ("repo1", "maven"),
        ("proxy", "golang"),
        ("deb", "debian"),
    )
)


@cache
def sources() -> dict[str, Path]:
    """Every module of the product and of the tests, by its dotted name."""
    found = {}
    for folder in ("bus", "eventconsole", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports(name: str) -> Iterator[tuple[str, int]]:
    """What a module imports anywhere in it, as (dotted name, line); of `from a import b` it is `a.b`."""
    path = sources()[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((each.name, node.lineno) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            origin = ".".join(part for part in (base, node.module) if part)
            yield from ((f"{origin}.{each.name}", node.lineno) for each in node.names)


def layer(name: str) -> int | None:
    """The number of the line in LAYERS that a module belongs to; None for third-party modules and unknown ones."""
    parts = name.split(".")
    if parts[0] != "bus":
        return next((number for number, names in enumerate(LAYERS) if parts[0] in names), None)
    part = ".".join(parts[:2])
    return next((number for number, names in enumerate(LAYERS) if part in names), None)


def place(name: str, line: int) -> str:
    return f"{sources()[name].relative_to(ROOT)}:{line}"


def none_of(violations: list[str], rule: str) -> None:
    assert not violations, f"{rule}:\n" + "\n".join(violations)


def test_every_module_of_the_bus_has_a_layer() -> None:
    unknown = {".".join(name.split(".")[:2]) for name in sources() if name.startswith("bus.") and layer(name) is None}
    none_of(sorted(unknown), "name the layer of a new module in LAYERS of this file")


def test_dependencies_point_one_way() -> None:
    violations = []
    for name in sources():
        mine = layer(name)
        for target, line in imports(name):
            its = layer(_known(target))
            if mine is not None and its is not None and its > mine:
                violations.append(f"{place(name, line)} imports {target}")
    none_of(violations, "a module imports only those of its own layer and of the layers above it in LAYERS")


def test_the_bus_knows_nothing_of_http_and_pages() -> None:
    none_of(_importers(FACING_PEOPLE, "bus"), f"bus never imports any of {sorted(FACING_PEOPLE)}")


def test_the_product_does_not_lean_on_its_tests() -> None:
    none_of(_importers({"tests", "pytest", "hypothesis"}, "eventconsole"), "eventconsole never imports what tests need")


def test_only_the_kafka_layer_talks_to_the_client_library() -> None:
    found = _importers({"confluent_kafka"}, "bus", ("bus.kafka", "bus.embedded"))
    found += _importers({"confluent_kafka"}, "eventconsole")
    none_of(found, "only bus/kafka and bus/embedded import confluent_kafka")


def test_only_the_ledger_and_presence_of_the_bus_talk_to_redis() -> None:
    found = _importers({"redis"}, "bus", ("bus.ledger", "bus.embedded", "bus.presence"))
    none_of(found, "event state in Redis is written by bus/ledger alone, through its scripts")


def test_modules_are_named_after_what_they_are() -> None:
    found = [str(path.relative_to(ROOT)) for name, path in sources().items() if EMPTY_NAMES & set(name.split("."))]
    none_of(found, f"modules are nouns; none is called {', '.join(sorted(EMPTY_NAMES))}")


def test_files_are_short() -> None:
    written = (path for name, path in sources().items() if ".migrations." not in name)  # the others are generated
    lengths = {path: len(path.read_text().splitlines()) for path in written}
    found = [f"{path.relative_to(ROOT)}: {length} lines" for path, length in lengths.items() if length > MAX_FILE_LINES]
    none_of(found, f"a file of more than {MAX_FILE_LINES} lines wants splitting")


def test_functions_are_short() -> None:
    found = []
    for name, path in sources().items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    found.append(f"{place(name, node.lineno)} {node.name}: {length} lines")
    none_of(found, f"a function of more than {MAX_FUNCTION_LINES} lines wants splitting")


def test_annotations_are_never_evaluated_at_import() -> None:
    found = [
        str(path.relative_to(ROOT))
        for name, path in sources().items()
        if ".migrations." not in name
        and any(not isinstance(node, ast.Expr) for node in tree(path).body)
        and not _postpones_annotations(tree(path))
    ]
    none_of(found, "every file with code begins with `from __future__ import annotations`")


def test_no_tracked_file_names_a_package_registry() -> None:
    found = []
    for path in _tracked():
        try:
            text = path.read_text()
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue
        found += [f"{path.relative_to(ROOT)} names {host}" for host in REGISTRIES if host in text]
    none_of(found, "files of this repository name no package registry's host")


def test_no_lock_file_with_addresses_is_tracked() -> None:
    found = [str(path.relative_to(ROOT)) for path in _tracked() if path.name in LOCKS_WITH_ADDRESSES]
    none_of(found, "locks are made by `make lock`, without addresses")


def _known(target: str) -> str:
    """The module that an import reaches: `bus.errors` for `bus.errors.BusError`, `bus.catalog` for that."""
    while target not in sources() and "." in target:
        target = target.rpartition(".")[0]
    return target


def _importers(forbidden: set[str], package: str, allowed: tuple[str, ...] = ()) -> list[str]:
    return [
        f"{place(name, line)} imports {target}"
        for name in sources()
        if name.split(".")[0] == package and not any(name == each or name.startswith(f"{each}.") for each in allowed)
        for target, line in imports(name)
        if target.split(".")[0] in forbidden
    ]


def _postpones_annotations(module: ast.Module) -> bool:
    return any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in module.body)


@cache
def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, timeout=30)
    # An unpacked archive has no index; what it holds was checked where it was made.
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]
