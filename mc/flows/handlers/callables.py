"""The check of which code a spec may name: one for task types, `call`, and all that takes `module:attribute`.

A spec reaches what an allowed module defines itself, what it lists in its `__all__`, and what is marked by
`@task_handler`; never what it merely imported, and nothing that belongs to an imported object.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from time import monotonic
from types import ClassMethodDescriptorType, MethodDescriptorType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from mc.context.paths import nearest_name
from mc.errors import McError, TaskHandlerError, TaskTypeNotAllowedError, UnknownTaskTypeError
from mc.interrupts import INTERRUPTS

if TYPE_CHECKING:
    from mc.flows.handlers.module_text import ImportedName, ModuleText

__all__ = ["CallableFinder", "import_module", "marked_name", "split_path"]

_TRY_AGAIN_SECONDS: Final = 60.0  # after an import that failed, which may have taken long
_OF_IMPORTS: Final = (__file__, importlib.__file__)
_WHAT_MAY_BE_NAMED: Final = (
    "A spec may name what the module defines itself, what its __all__ lists, and what is marked by "
    "@task_handler."
)


class CallableFinder:
    """Finds the functions and classes that specs may name.

    Args:
        modules: the modules that the application allowed; what lies below them is allowed too, steps that
            begin with an underscore excepted.
    """

    def __init__(self, modules: Iterable[str]) -> None:
        self.modules = tuple(modules)
        self._failures: dict[str, tuple[BaseException, float]] = {}  # module -> why, when to try again

    def import_module(self, module_name: str, asked_for: str) -> Any:
        """Import a module, unless that failed a short time ago.

        Args:
            module_name: as `import` takes it.
            asked_for: what the spec says, for messages.

        Raises:
            UnknownTaskTypeError: it cannot be imported.
        """
        failure, again_at = self._failures.get(module_name, (None, 0.0))
        if failure is not None and monotonic() < again_at:
            raise _broken_error(asked_for, module_name, failure) from failure
        try:
            return import_module(module_name, asked_for)
        except UnknownTaskTypeError as error:
            self._failures[module_name] = error.__cause__ or error, monotonic() + _TRY_AGAIN_SECONDS
            raise

    def check_allowed(self, module_name: str, asked_for: str) -> None:
        """Raise `TaskTypeNotAllowedError` unless a module is one of, or below, the allowed ones."""
        if self._is_allowed(module_name):
            return
        known = ", ".join(self.modules) or "none"
        raise TaskTypeNotAllowedError(
            f"{asked_for!r} names the module {module_name!r}, which is not allowed (allowed: {known}). "
            f"If you trust it, add it to handler_modules (command line: --handlers {module_name}).",
            task_type=asked_for,
            module=module_name,
        )

    def find(self, module_name: str, attribute: str, asked_for: str) -> Any:
        """Import a module and return what a spec may name of it.

        Args:
            module_name: the module; imported only if it is allowed.
            attribute: a name in it, or `Class.name`.
            asked_for: what the spec says, for messages.

        Raises:
            TaskTypeNotAllowedError: the module is not allowed, or only imports what is asked for.
            UnknownTaskTypeError: the module cannot be imported, or has no such name.
        """
        self.check_allowed(module_name, asked_for)
        module = self.import_module(module_name, asked_for)
        first, *inner = attribute.split(".")
        value = _read_public(module, first, module_name, attribute, asked_for)
        if isinstance(value, ModuleType):
            raise _through_module_error(asked_for, module_name, value.__name__)
        if not inner:
            if not callable(value) and not hasattr(type(value), "tick_task"):
                raise TaskHandlerError(
                    f"{asked_for!r} is {type(value).__name__}; expected something to call. It cannot be a "
                    f"task handler."
                )
            if self._is_defined(value) or first in _exports_of(module) or marked_name(value) is not None:
                return value
            raise self._origin_error(value, attribute, module_name, asked_for)
        for step in inner:
            if not isinstance(value, type) or not self._is_defined(value):
                raise self._origin_error(value, attribute, module_name, asked_for)
            raw = _read_public(value, step, module_name, attribute, asked_for)
            if not self._is_defined(_code_of(raw)):
                raise self._origin_error(raw, attribute, module_name, asked_for)
            value = getattr(value, step)
        return value

    def find_function(self, path: str) -> Any:
        """Return what `module:function` names, for a call.

        Raises:
            TaskHandlerError: it cannot be called by a spec.
        """
        module_name, attribute = split_path(path)
        function = self.find(module_name, attribute, path)
        if not callable(function):
            raise TaskHandlerError(f"{path!r} is {type(function).__name__}; expected something to call.")
        if isinstance(function, type) and attribute not in _exports_of(import_module(module_name, path)):
            for name in ("__new__", "__init__"):
                owner = next(cls for cls in function.__mro__ if name in vars(cls))
                if owner.__module__ != "builtins" and not self._is_allowed(owner.__module__):
                    raise self._origin_error(owner, attribute, module_name, path)
        return function

    def examine_function(self, path: str) -> str | None:
        """Return what stays unclear of `module:function` without importing more than the allowed modules.

        Returns:
            None where nothing does.

        Raises:
            TaskHandlerError: it cannot be called by a spec.
        """
        module_name, attribute = split_path(path)
        self.check_allowed(module_name, path)
        if self.is_at_hand(module_name):
            self.find_function(path)
            return None
        return self.read(module_name, attribute, path)

    def is_at_hand(self, module_name: str) -> bool:
        """Tell whether a module is listed by the application, or imported already."""
        return module_name in self.modules or module_name in sys.modules

    def read(self, module_name: str, attribute: str, asked_for: str) -> str | None:
        """Look for what a spec names in the text of a module, which is not imported, nor are its parents.

        Returns:
            What stays unclear; None where nothing does.

        Raises:
            TaskHandlerError: a spec cannot name it.
        """
        self.check_allowed(module_name, asked_for)
        for name in self.modules:
            if module_name.startswith(f"{name}."):
                import_module(name, asked_for)  # listed by the application, and may say where its parts lie
        from mc.flows.handlers.module_text import read_module_text  # a tick needs no parser

        text = read_module_text(module_name, asked_for)
        if isinstance(text, str):
            return text
        return self._read(text, module_name, attribute, asked_for, frozenset({(module_name, attribute)}))

    def _read(
        self, text: ModuleText, module_name: str, attribute: str, asked_for: str, seen: frozenset[Any]
    ) -> str | None:
        first, *inner = attribute.split(".")
        if any(step.startswith("_") for step in (first, *inner)):
            raise _missing_error(asked_for, module_name, attribute, None)
        if first in text.exported and not inner:
            return None
        origin = text.imported.get(first)
        if origin is not None and first not in text.defined:
            return self._read_origin(origin, module_name, attribute, asked_for, seen)
        if text.lacks(first):
            near = nearest_name(first, [name for name in text.names if not name.startswith("_")])
            raise _missing_error(asked_for, module_name, attribute, near)
        if inner and text.class_lacks(first, inner):
            near = nearest_name(inner[0], text.names_in_class(first)) if len(inner) == 1 else None
            raise _missing_error(asked_for, module_name, attribute, near and f"{first}.{near}")
        if text.has_certainly(first, inner):
            return None
        return (
            f"Whether {asked_for!r} can be used is known only when {module_name!r} is imported, which "
            f"checking a spec does not do unless the module is listed in handler_modules."
        )

    def _read_origin(
        self, origin: ImportedName, module_name: str, attribute: str, asked_for: str, seen: frozenset[Any]
    ) -> str | None:
        """Look where a name was imported from, which must be allowed, unless what it names is marked."""
        from mc.flows.handlers.module_text import read_module_text

        _, dot, inner = attribute.partition(".")
        if origin.name is None:
            raise _through_module_error(asked_for, module_name, origin.module)
        refused = _imported_error(asked_for, module_name, attribute, origin.module)
        there = (origin.module, f"{origin.name}{dot}{inner}")
        unclear = f"{module_name!r} imports {attribute!r} from {origin.module!r}, which cannot be followed."
        if there in seen:
            return unclear
        allowed = self._is_allowed(origin.module)
        try:
            text = read_module_text(origin.module, asked_for)
        except McError:
            if allowed:
                raise
            raise refused from None
        if isinstance(text, str):
            if allowed:
                return text
            raise refused
        if allowed:
            return self._read(text, *there, asked_for, seen | {there})
        if origin.name in text.marked and not inner:
            return None
        raise refused

    def _is_allowed(self, module_name: str) -> bool:
        for allowed in self.modules:
            if module_name == allowed:
                return True
            if module_name.startswith(f"{allowed}."):
                steps = module_name[len(allowed) + 1 :].split(".")
                if all(step.isidentifier() and not step.startswith("_") for step in steps):
                    return True
        return False

    def _is_defined(self, value: Any) -> bool:
        """Tell whether a function or class is defined by an allowed module.

        An instance has no `__qualname__`, and a bound method lends that of its function.
        """
        if isinstance(value, MethodType) or _text_of(value, "__qualname__") is None:
            return False
        origin = _text_of(value, "__module__")
        return origin is not None and self._is_allowed(origin)

    def _origin_error(self, value: Any, attribute: str, module_name: str, asked_for: str) -> McError:
        origin = _text_of(value, "__module__")
        is_code = _text_of(value, "__qualname__") is not None
        if is_code and origin is not None and not self._is_allowed(origin):
            return _imported_error(asked_for, module_name, attribute, origin)
        return TaskTypeNotAllowedError(
            f"{asked_for!r}: {attribute!r} is no function or class that {module_name!r} defines; there is an "
            f"object ({type(value).__name__}). {_WHAT_MAY_BE_NAMED}",
            task_type=asked_for,
            module=module_name,
        )


def _code_of(raw: Any) -> Any:
    """Return what tells where an entry of a class comes from; a method written in C knows its class only."""
    if isinstance(raw, ClassMethodDescriptorType | MethodDescriptorType):
        return raw.__objclass__
    return raw.__func__ if isinstance(raw, staticmethod | classmethod) else raw


def split_path(path: str) -> tuple[str, str]:
    """Return module and attribute of `module:attribute`.

    Raises:
        UnknownTaskTypeError: it is not written so.
    """
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise UnknownTaskTypeError(f"{path!r:.120} is no path to code; expected 'module:function'.")
    return module_name, attribute


def import_module(module_name: str, asked_for: str) -> Any:
    """Import a module, or raise `UnknownTaskTypeError` telling why it cannot be."""
    try:
        return importlib.import_module(module_name)
    except BaseException as error:
        if INTERRUPTS.caused(error):
            raise
        raise _broken_error(asked_for, module_name, error) from error


def marked_name(value: Any) -> str | None:
    """Return the task type that an object is marked with by `@task_handler`, or as a class, if it is."""
    return None if isinstance(value, MethodType) else _text_of(value, "task_type")


def _text_of(value: Any, name: str) -> str | None:
    try:
        text = getattr(value, name, None)
    except Exception:  # noqa: BLE001 - a proxy that looks for what it stands for
        return None
    return text if isinstance(text, str) else None


def _read_public(owner: Any, step: str, module_name: str, attribute: str, asked_for: str) -> Any:
    """Return an attribute of a module, or of a class as it stands there; one with a public name."""
    if not step.startswith("_"):
        if isinstance(owner, type):
            for cls in owner.__mro__:
                if step in vars(cls):
                    return vars(cls)[step]
        else:
            try:
                return getattr(owner, step)
            except AttributeError:
                pass
            except BaseException as error:
                if INTERRUPTS.caused(error):
                    raise
                raise _broken_error(asked_for, module_name, error) from error
    near = nearest_name(step, [name for name in dir(owner) if not name.startswith("_")])
    raise _missing_error(asked_for, module_name, attribute, near)


def _exports_of(module: ModuleType) -> frozenset[str]:
    listed = vars(module).get("__all__") or ()
    return frozenset(name for name in listed if isinstance(name, str) and not name.startswith("_"))


def _broken_error(asked_for: str, module_name: str, error: BaseException) -> McError:
    text = error.msg if isinstance(error, SyntaxError) else error
    what = f"{type(error).__name__}: {text}".rstrip(".: ") + _place_of(error)
    meant = _module_of_path(module_name)
    if meant is not None:
        what = "it is written as a file, where the name of a module is needed, as `import` takes it"
    hint = f" Write {meant}, in the folder that holds it, or with that folder in PYTHONPATH." if meant else ""
    return UnknownTaskTypeError(
        f"{asked_for!r}: the module {module_name!r} cannot be imported: {what}.{hint}",
        task_type=asked_for,
        module=module_name,
    )


def _place_of(error: BaseException) -> str:
    """Return file and line of what went wrong while a module was imported; empty where there is none."""
    places: list[tuple[str, int]] = []
    step = error.__traceback__
    while step is not None:
        places.append((step.tb_frame.f_code.co_filename, step.tb_lineno))
        step = step.tb_next
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        places.append((error.filename, error.lineno))
    own = [place for place in places if place[0] not in _OF_IMPORTS and not place[0].startswith("<")]
    return f" ({own[-1][0]}, line {own[-1][1]})" if own else ""


def _module_of_path(text: str) -> str | None:
    """Return the name of the module that is probably meant by the path of a file."""
    parts = [part for part in text.replace("\\", "/").split("/") if part]
    if not parts or not (set(text) & {"/", "\\"} or parts[-1].endswith(".py") or text.startswith(".")):
        return None
    is_elsewhere = text.startswith("/") or ".." in parts
    steps = [part for part in parts if part != "."][-1 if is_elsewhere else 0 :]
    name = ".".join(steps).removesuffix(".py").strip(".").removesuffix(".__init__")
    return name if name and all(step.isidentifier() for step in name.split(".")) else None


def _missing_error(asked_for: str, module_name: str, attribute: str, near: str | None) -> McError:
    hint = f" Did you mean {near!r}?" if near else ""
    return UnknownTaskTypeError(
        f"{asked_for!r}: the module {module_name!r} has no public {attribute!r}.{hint}",
        task_type=asked_for,
        module=module_name,
        suggestion=near,
    )


def _imported_error(asked_for: str, module_name: str, attribute: str, origin: str) -> McError:
    return TaskTypeNotAllowedError(
        f"{asked_for!r} leads to code of the module {origin!r}, which is not allowed: {module_name!r} only "
        f"imports {attribute!r}. {_WHAT_MAY_BE_NAMED}",
        task_type=asked_for,
        module=origin,
    )


def _through_module_error(asked_for: str, module_name: str, origin: str) -> McError:
    return TaskTypeNotAllowedError(
        f"{asked_for!r} leads through the module {origin!r}, which {module_name!r} only imports. Write the "
        f"module that holds it before the colon, and allow that one.",
        task_type=asked_for,
        module=origin,
    )
