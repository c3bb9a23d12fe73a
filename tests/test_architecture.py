"""The code keeps to the plan of the house: who may import whom, how big, how documented, how lazy."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import mc
from mc.spec.task_graph import find_cycle

ROOT = Path(__file__).resolve().parents[1]
GROUND = frozenset({"errors", "statuses", "durations", "clock", "interrupts", "json_data", "printable"})
CORE = GROUND | {"context", "spec", "authoring", "flows", "task_handlers", "explanation", "simulation"}

# The rooms that a room may import, apart from itself. `mc` stands for the public names of the package.
ALLOWED_ROOMS: dict[str, frozenset[str]] = {
    **dict.fromkeys(GROUND, GROUND),
    "context": GROUND,
    "spec": GROUND | {"context"},
    "authoring": GROUND | {"context", "spec"},
    "flows": GROUND | {"context", "spec"},
    **dict.fromkeys(("task_handlers", "explanation", "simulation"), GROUND | {"context", "spec", "flows"}),
    "store": GROUND | {"context", "spec", "flows", "explanation"},
    "settings": CORE | {"store"},
    "runners": CORE | {"store"},
    "jobs": CORE | {"store"},
    "observers": CORE | {"store"},
    "deployments": CORE | {"store", "runners", "jobs", "observers"},
    "houston_control_methods": CORE | {"store", "runners"},
    "houston_job_methods": CORE | {"store", "jobs", "houston_control_methods"},
    "houston_selection_methods": CORE | {"store", "runners", "jobs", "houston_job_methods"},
    "houston": CORE
    | {"store", "settings", "runners", "jobs", "observers", "deployments", "houston_selection_methods"},
    "sent_jobs": CORE | {"store", "settings", "jobs", "houston"},
    "celery_app": CORE | {"settings", "jobs", "sent_jobs"},
    "async_houston": CORE | {"store", "runners", "houston"},
    **dict.fromkeys(
        ("cli", "web", "testing"),
        CORE | {"mc", "store", "settings", "runners", "jobs", "observers", "deployments", "houston"},
    ),
    "__main__": frozenset({"cli"}),
}

# The wings of large rooms, and modules that stand alone in them, from above to below: each may import those
# after it. Annotations count.
WINGS: dict[str, tuple[str, ...]] = {
    "cli": (
        *("main", "process", "commands", "control_command", "decisions", "many_flows", "errors"),
        *("nearest_keys", "options", "selection_options", "settings", "parameter_types", "spec_source"),
        *("kept_process", "lazy_group", "exit_codes", "printing"),
    ),
    "flows": (
        *("flow_engine", "converters", "flow_dict_checks", "tick", "pacer", "controls", "calls", "signals"),
        *("resources", "migration", "time_limits", "services", "flow", "formats", "state", "handlers"),
        *("observer", "resource", "tick_report", "jobs"),
    ),
    "jobs": (
        *("work_dirs", "jobs", "in_memory_jobs", "job_watch", "job_keeper", "job_worker", "job_server"),
        *("attendance", "module_path", "large_results", "result_places", "executor_checks", "find_executor"),
        *("data_folder", "systemd_units", "http_request", "executors", "folder", "script"),
    ),
    "task_handlers": (
        *("spread_task_handler", "approval_task_handler", "call_task_handler", "flow_task_handler"),
        *("http_task_handler",),
        *("inline_flow_task_handler", "job_task_handler", "log_task_handler", "loop_task_handler"),
        *("noop_task_handler", "print_task_handler", "shell_task_handler"),
        *("switch_task_handler", "wait_for_signal_task_handler", "wait_task_handler", "wire_task_handler"),
        *("bases", "base_task_handler"),
    ),
    "explanation": ("flow_reasons", "task_reasons", "job_reasons", "facts", "explanation"),
    "simulation": ("simulation", "script", "scripted_handlers", "timeline", "scripted_results", "task_paths"),
    "store": (
        *(
            "history_check",
            "flow_facts",
            "flow_results",
            "flow_store",
            "upkeep",
            "messages",
            *("job_store", "job_claims"),
            "saving",
            "resource_store",
        ),
        *("reading", "leases", "rows", "nearest_names", "history", "database"),
        *("job_record", "stored_state", "lease", "schema", "sql"),
        *("flow_selection", "flow_summary", "event", "databases"),
        "finding",
    ),
    "spec": (
        *("task_override", "planning", "validation", "checks", "schema", "reading", "nested_specs"),
        *("findings", "spec_level", "problems", "task_outputs", "digest", "codes", "names", "task_graph"),
        *("leave", "item_limits", "task_types"),
    ),
    "runners": (
        *(
            "self_test",
            "flow_runner",
            "runner_loop",
            "many_flows",
            "side_by_side",
            "turns",
            "immediate_control",
            "claimed_flow",
            "stored_migration",
            "waking",
        ),
        *("services", "stop_signals", "outage", "final_saves", "turn_account", "runner_report"),
        *("flow_failure", "heartbeat", "runner_settings"),
    ),
}
# Private attributes that are reached from outside of their object: module and attribute -> why.
_NAMED_TUPLE = "a public method of named tuples"
_READ_LATE = "the nodes make each other's edges, which a property reads when they are asked for"
_AS_AT_AN_END = (
    "what an interpreter does at its end, and no public function does; multiprocessing calls it too"
)
_SAME_CLASS = "another object of the same class"
_STORE_ALONE = "a reader of a store's rows that the class itself has no room for"
REACHES: dict[tuple[str, str], str] = {
    ("mc.cli.process", "_exit"): "so it is named by os",
    ("mc.context.destinations", "_in_item"): _SAME_CLASS,
    ("mc.context.destinations", "_undo"): _SAME_CLASS,
    ("mc.flows.state.lazy_nodes", "_after"): _READ_LATE,
    ("mc.flows.state.lazy_nodes", "_before"): _READ_LATE,
    ("mc.jobs.script.job_call", "_clear"): _AS_AT_AN_END,
    ("mc.jobs.script.job_call", "_exit"): "so it is named by os",
    ("mc.jobs.script.job_call", "_run_exitfuncs"): _AS_AT_AN_END,
    ("mc.jobs.script.job_call", "_shutdown"): _AS_AT_AN_END,
    ("mc.jobs.executors.pool_job", "_exit"): "so it is named by os",
    ("mc.jobs.executors.processes", "_exit"): "so it is named by os",
    ("mc.jobs.script.job_output", "_pattern"): _SAME_CLASS,
    ("mc.jobs.script.job_output", "_values"): _SAME_CLASS,
    ("mc.jobs.script.job_processes", "_NamedFuncPointer"): "so ctypes names the type of its functions",
    ("mc.jobs.script.job_processes", "_exit"): "so it is named by os",
    ("mc.jobs.script.job_request", "_exit"): "so it is named by os",
    ("mc.jobs.script.job_server", "_exit"): "so it is named by os",
    ("mc.jobs.script.job_then", "_exit"): "so it is named by os",
    ("mc.spec.schema.evaluated_parts", "_resolver"): "jsonschema offers it in no other way",
    ("mc.spec.spec_level", "_knows_data"): _SAME_CLASS,
    ("mc.spec.spec_level", "_knows_task_data"): _SAME_CLASS,
    ("mc.store.flow_facts", "_database"): _STORE_ALONE,
    ("mc.store.history_check", "_database"): _STORE_ALONE,
    ("mc.store.reading.flow_reader", "_make"): _NAMED_TUPLE,
}
MOST_REACHES = 40

OUTSIDE_THE_CORE = {
    *("aiohttp", "http", "httpx", "requests", "socket", "ssl", "urllib"),
    *("concurrent", "multiprocessing", "signal", "subprocess", "threading"),
    *("sqlalchemy", "sqlite3"),
}
EXAMPLES = sorted({ROOT / "specs" / "stdlib_census.json", *(ROOT / "specs").glob("*.json")})
# What only a dialect may know: names of databases and their runners, and words of the SQL of one of them.
DATABASE_NAMES = re.compile(r"sqlite|postgres|psycopg|mysql|mariadb|innodb|sqlstate", re.IGNORECASE)
SQL_OF_ONE = re.compile(r"PRAGMA|FORCE INDEX|JSON_TABLE|json_extract|jsonb|pg_[a-z]|innodb_|@@[a-z]")
FORBIDDEN_NAMES = frozenset({"common", "helper", "helpers", "misc", "util", "utils"})
MAX_LINES = 500
MOST_FILES = 20  # in one folder


def module_name(path: Path) -> str:
    """Return the dotted name under which the file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted((ROOT / "mc").rglob("*.py"))}
ORDINARY_MODULES = sorted(name for name, path in MODULES.items() if path.stem not in ("__init__", "__main__"))
PACKAGES = sorted({module_name(path.parent / "__init__.py") for path in MODULES.values()})


@cache
def parse(name: str) -> ast.Module:
    """Return the syntax tree of a module of `mc`."""
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def nodes_that_run(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk a module without what stands under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from nodes_that_run(node)


@cache
def imports_of(name: str, for_types: bool = True) -> frozenset[str]:
    """Return all that a module imports, in functions too; what only type checkers see on request."""
    found: set[str] = set()
    tree = parse(name)
    for node in ast.walk(tree) if for_types else nodes_that_run(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: a relative import"
            assert node.module is not None
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in MODULES else node.module)
    return frozenset(found)


def room_of(name: str) -> str:
    """Return the room that a module of `mc` is in; `mc` for the package itself."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "mc"


def wing_of(name: str) -> str:
    """Return the wing of its room that a module is in, or its own name where it stands alone."""
    return name.split(".")[2]


def own_imports(name: str, for_types: bool = True) -> list[str]:
    return sorted(target for target in imports_of(name, for_types) if target.split(".")[0] == "mc")


def texts_of(name: str) -> list[str]:
    """Return the texts of a module that are no docstrings; of an f-string each part."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(parse(name))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(parse(name))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]


def code_words(name: str) -> Iterator[str]:
    """Yield the identifiers of a module and its texts without a blank, which are no sentences."""
    for node in ast.walk(parse(name)):
        for field in ("id", "attr", "arg", "name", "asname", "module"):
            if isinstance(getattr(node, field, None), str):
                yield getattr(node, field)
    yield from (text for text in texts_of(name) if " " not in text)


def depends_on_a_dialects_name(node: ast.AST) -> bool:
    """Tell whether code takes one way or another by the name of a dialect or runner."""
    if isinstance(node, ast.Compare | ast.Match | ast.Subscript):
        return re.search(r"dialect\w*\.(name|runner)\b", ast.unparse(node)) is not None
    return False


def public_definitions(name: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in parse(name).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if not node.name.startswith("_"):
                yield node


class TestRooms:
    def test_every_module_is_in_a_room_of_the_plan(self) -> None:
        rooms = {room_of(name) for name in MODULES if name != "mc"}
        assert rooms - set(ALLOWED_ROOMS) == set()

    @pytest.mark.parametrize("name", sorted(MODULES.keys() - {"mc"}))
    def test_a_module_imports_only_rooms_below_its_own(self, name: str) -> None:
        room = room_of(name)
        allowed = ALLOWED_ROOMS[room] | {room}
        assert [target for target in own_imports(name) if room_of(target) not in allowed] == []

    def test_everything_imported_from_mc_exists(self) -> None:
        missing = {
            f"{name} imports {target}"
            for name in MODULES
            for target in own_imports(name)
            if target not in MODULES
        }
        assert missing == set()

    @pytest.mark.parametrize("room", WINGS)
    def test_a_wing_imports_only_those_below_it(self, room: str) -> None:
        order = {wing: place for place, wing in enumerate(WINGS[room])}
        names = [name for name in MODULES if room_of(name) == room and name.count(".") > 1]
        assert {wing_of(name) for name in names} == set(order)
        upwards = {
            (name, target)
            for name in names
            for target in own_imports(name)
            if target in names and order[wing_of(target)] < order[wing_of(name)]
        }
        assert upwards == set()

    def test_a_folder_has_one_subject(self) -> None:
        """But for those of which each module is one of a kind: a subcommand."""
        sizes = Counter(
            name.rpartition(".")[0] for name, path in MODULES.items() if path.name != "__init__.py"
        )
        assert {name: size for name, size in sizes.items() if size > MOST_FILES} == {
            "mc.cli.commands": sizes["mc.cli.commands"]
        }

    def test_no_imports_run_in_a_circle(self) -> None:
        edges = [(name, target) for name in MODULES for target in own_imports(name)]
        cycle = find_cycle(MODULES, edges)
        assert cycle is None, " -> ".join(cycle or ())

    def test_only_the_store_imports_sqlalchemy(self) -> None:
        importers = {
            name
            for name in MODULES
            for target in imports_of(name)
            if target.split(".")[0] == "sqlalchemy" and room_of(name) != "store"
        }
        assert importers == set()

    @pytest.mark.parametrize("name", [n for n in ORDINARY_MODULES if not n.startswith("mc.store.databases.")])
    def test_only_a_dialect_knows_its_database(self, name: str) -> None:
        """Identifiers, texts without a blank and SQL name no database; sentences and docstrings may."""
        assert [word for word in code_words(name) if DATABASE_NAMES.search(word)] == []
        assert [text for text in texts_of(name) if SQL_OF_ONE.search(text)] == []
        asked = [ast.unparse(node) for node in ast.walk(parse(name)) if depends_on_a_dialects_name(node)]
        assert asked == []

    @pytest.mark.parametrize(
        "name", [n for n in ORDINARY_MODULES if room_of(n) in CORE and n != "mc.interrupts"]
    )
    def test_the_core_knows_no_sql_thread_process_or_network(self, name: str) -> None:
        assert {target.split(".")[0] for target in imports_of(name)} & OUTSIDE_THE_CORE == set()

    @pytest.mark.parametrize("name", [n for n in ORDINARY_MODULES if room_of(n) in CORE and n != "mc.clock"])
    def test_the_core_reads_no_clock_and_no_environment(self, name: str) -> None:
        forbidden = r"(date|datetime)\.(now|utcnow|today)|time\.(time|time_ns|sleep|monotonic)"
        forbidden += r"|os\.(environ|getenv)\b.*"
        calls = {ast.unparse(node.func) for node in ast.walk(parse(name)) if isinstance(node, ast.Call)}
        reads = {ast.unparse(node) for node in ast.walk(parse(name)) if isinstance(node, ast.Attribute)}
        used = {text for text in calls | reads if re.fullmatch(rf"(datetime\.)?({forbidden})", text)}
        assert used == set()

    @pytest.mark.parametrize("name", PACKAGES)
    def test_every_folder_is_a_package(self, name: str) -> None:
        assert MODULES.get(name, ROOT).name == "__init__.py"


def private_reaches(tree: ast.AST) -> Iterator[str]:
    """Yield the private attributes that a module reaches for in other objects than `self` and `cls`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__"):
            if ast.unparse(node.value) not in ("self", "cls", "super()"):
                yield node.attr


class TestPrivateAttributes:
    def test_only_those_that_have_a_reason_are_reached_from_outside(self) -> None:
        found = {(name, attribute) for name in MODULES for attribute in private_reaches(parse(name))}
        assert found == set(REACHES)

    def test_they_are_few(self) -> None:
        assert sum(len(list(private_reaches(parse(name)))) for name in MODULES) <= MOST_REACHES

    def test_a_reach_through_any_expression_is_found(self) -> None:
        reaches = private_reaches(ast.parse("self._own; cls._own; other._a; self.flow._b = f()._c; x.__d__"))
        assert sorted(reaches) == ["_a", "_b", "_c"]


class TestModules:
    @pytest.mark.parametrize("name", sorted(MODULES))
    def test_a_module_is_not_too_long(self, name: str) -> None:
        assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= MAX_LINES

    @pytest.mark.parametrize("name", sorted(MODULES))
    def test_a_module_is_named_after_what_it_holds(self, name: str) -> None:
        assert set(name.split(".")) & FORBIDDEN_NAMES == set()

    @pytest.mark.parametrize("name", ORDINARY_MODULES)
    def test_a_module_names_what_is_public(self, name: str) -> None:
        assigned = {
            ast.unparse(target)
            for node in parse(name).body
            for target in (node.targets if isinstance(node, ast.Assign) else ())
        }
        assert "__all__" in assigned

    @pytest.mark.parametrize("name", sorted(MODULES))
    def test_what_is_public_is_documented(self, name: str) -> None:
        bare = [
            f"{node.name}:{node.lineno}" for node in public_definitions(name) if not ast.get_docstring(node)
        ]
        assert ast.get_docstring(parse(name))
        assert bare == []

    @pytest.mark.parametrize("name", [name for name in PACKAGES if name != "mc"])
    def test_an_init_file_holds_no_code(self, name: str) -> None:
        _, *rest = parse(name).body
        assert [ast.unparse(node) for node in rest if not is_declaration(node)] == []

    def test_the_package_itself_only_looks_names_up(self) -> None:
        allowed = {"TYPE_CHECKING", "_MODULES", "__all__", "__dir__", "__getattr__", "_read_version"}
        assert top_level_names(parse("mc").body[1:]) == allowed

    @pytest.mark.parametrize("name", sorted(MODULES))
    def test_no_error_is_swallowed(self, name: str) -> None:
        assert [f"{name}:{line}" for line in swallowing_lines(parse(name))] == []

    @pytest.mark.parametrize(
        "name",
        [n for n in MODULES if room_of(n) != "cli" and n != "mc.task_handlers.print_task_handler"],
    )
    def test_nothing_prints_but_the_command_and_the_print_task(self, name: str) -> None:
        printed = [
            node.lineno
            for node in ast.walk(parse(name))
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "builtins.print")
        ]
        assert printed == []


def is_declaration(node: ast.stmt) -> bool:
    """Tell whether a statement of an `__init__.py` only declares public names."""
    if isinstance(node, ast.ImportFrom):
        return node.module == "__future__"
    if isinstance(node, ast.Assign):
        return [ast.unparse(target) for target in node.targets] == ["__all__"]
    return isinstance(node, ast.FunctionDef) and node.name in ("__getattr__", "__dir__")


def top_level_names(body: list[ast.stmt]) -> set[str]:
    """Return the names that run-time statements bind; `if TYPE_CHECKING` is not run."""
    names: set[str] = set()
    for node in body:
        if isinstance(node, ast.If):
            names |= set() if ast.unparse(node.test) == "TYPE_CHECKING" else top_level_names(node.body)
        elif isinstance(node, ast.Assign):
            names |= {ast.unparse(target) for target in node.targets}
        elif isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif not (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
            names.add(ast.unparse(node))
    return names


def swallowing_lines(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that let any error pass unseen."""
    broad = {"Exception", "BaseException"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            caught = {ast.unparse(part) for part in ast.walk(node.type)} if node.type else set()
            idle = all(isinstance(step, ast.Pass | ast.Continue) or is_text(step) for step in node.body)
            if node.type is None or (caught & broad and idle):
                yield node.lineno
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("suppress", "contextlib.suppress"):
            if broad & {ast.unparse(arg) for arg in node.args}:
                yield node.lineno


def is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


class TestPublicNames:
    @pytest.mark.parametrize("name", sorted(mc.__all__))
    def test_a_public_name_can_be_imported(self, name: str) -> None:
        assert getattr(mc, name) is not None

    @pytest.mark.parametrize(
        ("module", "name"),
        [
            ("mc.flows.flow", "Flow"),
            ("mc.flows.flow_engine", "FlowEngine"),
            ("mc.task_handlers.base_task_handler", "BaseTaskHandler"),
            ("mc.runners.flow_runner", "FlowRunner"),
            ("mc.store.flow_store", "FlowStore"),
            ("mc.cli.main", "main"),
        ],
    )
    def test_a_promised_path_leads_to_its_class(self, module: str, name: str) -> None:
        assert callable(getattr(importlib.import_module(module), name))

    def test_the_public_names_are_those_that_type_checkers_see(self) -> None:
        (checked,) = (
            node
            for node in parse("mc").body
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        )
        seen = {
            alias.name for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names
        }
        assert seen | {"__version__"} == set(mc.__all__)

    def test_an_unknown_name_is_an_attribute_error(self) -> None:
        with pytest.raises(AttributeError, match="no attribute 'Flwo'"):
            getattr(mc, "Flwo")  # noqa: B009 - written out, it would be a type error

    def test_the_package_says_that_it_is_typed(self) -> None:
        assert (ROOT / "mc" / "py.typed").is_file()


def modules_loaded_by(*arguments: str) -> set[str]:
    """Run Python with the arguments in a fresh process and return the modules that it imported."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MC_", "PYTEST"))
    }
    environment.pop("COVERAGE_PROCESS_START", None)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    timings = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    said = [done.stdout, *(line for line in done.stderr.splitlines() if line not in timings)]
    assert done.returncode == 0, "\n".join(said)
    return {line.rpartition("|")[2].strip() for line in timings}


def top_packages(modules: set[str]) -> set[str]:
    return {name.split(".")[0] for name in modules}


class TestLaziness:
    def test_importing_mc_loads_nothing_else_of_it(self) -> None:
        loaded = modules_loaded_by("-c", "import mc")
        assert {name for name in loaded if name.split(".")[0] == "mc"} == {"mc"}

    def test_importing_mc_loads_no_heavy_module(self) -> None:
        loaded = modules_loaded_by("-c", "import mc")
        heavy = {
            "asyncio",
            "click",
            "cronsim",
            "inspect",
            "jsonschema",
            "jsonschema_rs",
            "logging",
            "rich",
            "sqlalchemy",
        }
        assert loaded & (heavy | {"importlib.metadata"}) == set()

    def test_the_help_loads_neither_the_database_nor_the_validator(self) -> None:
        loaded = modules_loaded_by("-m", "mc", "--help")
        assert top_packages(loaded) & {"sqlalchemy", "jsonschema", "jsonschema_rs", "asyncio"} == set()

    @pytest.mark.parametrize("spec", EXAMPLES, ids=lambda path: path.name)
    def test_validating_a_spec_does_not_load_the_database(self, spec: Path) -> None:
        loaded = modules_loaded_by(
            "-m", "mc", "validate", str(spec), "--allow", "shell", *handler_options(spec)
        )
        assert "sqlalchemy" not in top_packages(loaded)

    def test_the_engine_does_without_the_database(self) -> None:
        loaded = modules_loaded_by("-c", "from mc import FlowEngine")
        assert top_packages(loaded) & {"sqlalchemy", "click", "rich", "asyncio"} == set()


def handler_options(spec: Path) -> list[str]:
    """Return the options that name the module of a spec's own task types, if it has one."""
    return ["--handlers", f"specs.{spec.stem}"] if spec.with_suffix(".py").is_file() else []
