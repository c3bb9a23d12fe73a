"""The facade: the one object that an application holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from os import PathLike
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from mc.houston_selection_methods import SelectionMethods
from mc.settings.of_jobs import make_job_settings
from mc.store.databases.kinds import DEFAULT_URL

if TYPE_CHECKING:
    from mc.clock import Clock
    from mc.context.sizes import Limits
    from mc.errors import Problem
    from mc.explanation.explanation import Explanation
    from mc.flows.flow import Flow
    from mc.flows.flow_engine import FlowEngine
    from mc.flows.observer import Observer
    from mc.runners.flow_runner import FlowRunner, RunnerReport
    from mc.spec.leave import AllowedNames
    from mc.spec.planning.plan import FlowPlan
    from mc.store.event import Event
    from mc.store.flow_store import FlowStore
    from mc.store.flow_summary import FlowSummary
    from mc.store.resource_store import ResourceStore

__all__ = ["Houston", "Submission"]


if TYPE_CHECKING:
    made_once = cached_property
else:

    class made_once(cached_property):  # noqa: N801 - used as a decorator
        """A part that is made when it is first needed, once, whichever threads ask for it."""

        def __init__(self, make):
            super().__init__(make)
            self._making = RLock()

        def __get__(self, houston, owner=None):
            with self._making:
                return super().__get__(houston, owner)


class Submission(NamedTuple):
    """What became of a submitted spec."""

    key: str  # of the flow
    created: bool  # False: the same flow had been submitted before


class Houston(SelectionMethods):
    """Store, engine and runner, put together; each is made when it is first needed.

    A `with` block, or `close()`, gives the database's connections back.

    Args:
        db: URL of the database, as SQLAlchemy writes it.
        task_handlers: as for `FlowEngine`.
        handler_modules: as for `FlowEngine`.
        allow: as for `FlowEngine`.
        clock: where the time comes from; the machine's clock unless given.
        observers: told of each change of a status that a tick of this object makes.
        lease_seconds: how long a flow is held up by a runner that vanished while it ticked the flow.
        busy_seconds: how long a transaction waits where others hold the database's lock.
        outage_seconds: how long `run` and the runner's loops wait for a database that has gone away.
        file_mode: permissions of an SQLite file that is made; None: as the process's umask has it.
        limits: how large values may become; see `mc.context.sizes.Limits`.
        threads: how many flows are worked on side by side; see `FlowRunner`.
        data_folder: for the folders of jobs and for large results; `mc.sqlite3.data` beside the SQLite file
            `mc.sqlite3`, else `mc-data` in the current folder, unless given.
        executors: settings of executors, by their names; `kind` names the executor's class where the name is
            another.
        executor: name of the one that starts jobs which name none.
        secrets_folder: with one file for each secret that specs name.
        then: command that a job runs at its end, so that its flow need not wait for the next tick, such as
            `["houston", "job-ended"]`, which the command `houston` gives.
        large_results: where results of jobs over 64 KB are kept: `files` (in the folders of the jobs),
            `database`, or in a place that all hosts see: the absolute path of a folder, or a URL that fsspec
            knows.
    """

    def __init__(
        self,
        db: str = DEFAULT_URL,
        *,
        task_handlers: Mapping[str, Any] | Iterable[Any] | None = None,
        handler_modules: str | Iterable[str] = (),
        allow: AllowedNames = (),
        clock: Clock | None = None,
        observers: Iterable[Observer] = (),
        lease_seconds: float = 60.0,
        busy_seconds: float = 30.0,
        outage_seconds: float = 600.0,
        file_mode: int | None = 0o600,
        limits: Limits | None = None,
        threads: int = 1,
        data_folder: str | PathLike[str] | None = None,
        executors: Mapping[str, Mapping[str, Any]] | None = None,
        executor: str | None = None,
        secrets_folder: str | PathLike[str] | None = None,
        then: Iterable[str] | None = None,
        large_results: str | None = None,
    ) -> None:
        self.db = db
        self._job_settings = make_job_settings(
            db, data_folder, executors, executor, secrets_folder, then, large_results
        )
        self._task_handlers = task_handlers
        self._handler_modules = handler_modules
        if allow:
            from mc.spec.leave import Allowed

            allow = Allowed.of(allow)  # now, so that a wrong name is told where it is given
        self._allow = allow
        self._clock = clock
        self._observers = tuple(observers)
        self._store_options: dict[str, Any] = {"busy_seconds": busy_seconds, "file_mode": file_mode}
        self._limits = limits
        self._runner_options: dict[str, Any] = {
            "lease_seconds": lease_seconds,
            "outage_seconds": outage_seconds,
            "threads": threads,
        }

    @classmethod
    def from_settings(cls, path: str | PathLike[str] | None = None, **options: Any) -> Self:
        """Return one that is set as the command `houston` is: by the environment, then by a settings file.

        Args:
            path: of the file; unless given, `mc.toml` in the current folder or the nearest one above, or what
                `MC_CONFIG` names. None of these need be there.
            **options: further arguments, in the place of what those say.

        Raises:
            SettingsError: the file or an environment variable is wrong.
        """
        from mc.settings.values import SettingValues

        return cls(**{**SettingValues.find(path).houston_options(), **options})

    @made_once
    def engine(self) -> FlowEngine:
        """Makes flows of specs, and ticks them in memory."""
        from mc.flows.flow_engine import FlowEngine

        return FlowEngine(
            task_handlers=self._task_handlers,
            handler_modules=self._handler_modules,
            allow=self._allow,
            clock=self._clock,
            observers=self._observers,
            limits=self._limits,
        )

    @made_once
    def store(self) -> FlowStore:
        """Keeps flows in the database."""
        from mc.store.flow_store import FlowStore

        return FlowStore(self.db, clock=self._clock, read_result=self._read_result, **self._store_options)

    def _read_result(self, reference: str) -> Any:
        from mc.jobs.large_results import LargeResults  # a tick with nothing to do is done without

        return LargeResults(self._job_settings).read(reference)

    @made_once
    def runner(self) -> FlowRunner:
        """Claims stored flows, ticks and saves them."""
        from mc.jobs.job_watch import JobWatch
        from mc.runners.flow_runner import FlowRunner

        jobs = JobWatch(self.store, self._job_settings)
        return FlowRunner(self.store, self.engine, jobs=jobs, **self._runner_options)

    def close(self) -> None:
        """Give the database's connections back; the object can be used again afterwards."""
        store = self.__dict__.pop("store", None)
        self.__dict__.pop("runner", None)
        if store is not None:
            store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # --- specs -----------------------------------------------------------------------------

    def validate(self, spec: Any) -> Sequence[Problem]:
        """Return everything that is wrong with a spec; nothing is stored.

        Args:
            spec: any value.
        """
        from mc.spec.validation import find_problems

        return find_problems(spec, task_types=self.engine.registry)

    def plan(self, spec: Any, data: Mapping[str, Any] | None = None) -> FlowPlan:
        """Return what a spec says of its runs (order, critical path, width, findings); nothing is run.

        Args:
            spec: the flow spec.
            data: laid over the spec's `data`.

        Raises:
            SpecError: the spec is wrong, or the data do not keep to its `params`.
        """
        from mc.spec.planning.plan import plan_flow_spec

        return plan_flow_spec(spec, data, task_types=self.engine.registry)

    # --- running ---------------------------------------------------------------------------

    def submit(
        self,
        spec: Mapping[str, Any],
        data: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        label: str | None = None,
    ) -> str:
        """Store a new flow, to be advanced by ticks, and return its key; see `submit_once`."""
        return self.submit_once(spec, data, key=key, label=label).key

    def submit_once(
        self,
        spec: Mapping[str, Any],
        data: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        label: str | None = None,
    ) -> Submission:
        """Store a new flow unless it was stored before, as a whole or not at all.

        A flow counts as the same when its key is, and the spec and the data that it was made from are.
        So a caller that does not know whether its last attempt arrived can simply repeat it.

        Args:
            spec: the flow spec; copied.
            data: laid over the spec's `data`.
            key: in the place of the spec's key; generated where neither is given.
            label: in the place of the spec's label.

        Raises:
            SpecError: the spec is wrong, or the data do not keep to its `params`.
            FlowExistsError: the key belongs to a flow that was made from another spec or other data, or to
                one that was deleted.
            StoreUnreachableError: the database cannot be opened.
        """
        from mc.errors import FlowExistsError

        flow = self.engine.flow_spec_to_flow(spec, key=key, data=data, label=label)
        if data and flow.spec is not None:
            flow.spec["data"] = self._copy(flow.data)  # what the flow began with can be compared later
        try:
            self.store.create(flow)
        except FlowExistsError as error:
            if "deleted_at" in error.details:
                raise
            if self._is_same(flow):
                return Submission(flow.key, created=False)
            raise FlowExistsError(
                f"A flow with the key {flow.key!r} is stored already, and it was made from another spec or "
                f"other data. Choose another key.",
                key=flow.key,
            ) from error
        return Submission(flow.key, created=True)

    def run(
        self,
        spec: Mapping[str, Any],
        data: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        label: str | None = None,
        max_seconds: float | None = None,
        raise_on_failure: bool = False,
    ) -> Flow:
        """Store a flow, tick it to its end and return it as it is then.

        A flow that was submitted before and is unfinished goes on where it stood. The flow that is
        returned is unfinished if the time ran out, or if only an event from outside can move it.

        Args:
            spec: the flow spec; copied.
            data: laid over the spec's `data`.
            key: in the place of the spec's key.
            label: in the place of the spec's label.
            max_seconds: when to stop between two tasks; no limit unless given.
            raise_on_failure: raise `FlowError` for a flow that ended FAILED, as `FlowEngine.run_flow` does.

        Raises:
            FlowError: the flow ended FAILED, and that was to be raised; `.flow` is the flow.
            SpecError: the spec is wrong, or the data do not keep to its `params`.
            FlowExistsError: the key belongs to a flow that was made from another spec or other data.
            StoreUnreachableError: the database cannot be opened.
        """
        flow_key = self.submit(spec, data, key=key, label=label)
        return self.runner.run_flow(flow_key, max_seconds=max_seconds, raise_on_failure=raise_on_failure)

    def tick(self, max_flows: int | None = None, max_seconds: float | None = None) -> RunnerReport:
        """Advance the stored flows that are due, and return what was done.

        Any number of processes may do this at once on one database.

        Args:
            max_flows: how many flows may be claimed; no limit unless given.
            max_seconds: when to stop between two tasks; no limit unless given.

        Raises:
            StoreUnreachableError: the database cannot be opened.
        """
        return self.runner.tick(max_flows=max_flows, max_seconds=max_seconds)

    def loop(
        self, interval: float = 1.0, max_seconds: float | None = None, *, handle_signals: bool = True
    ) -> RunnerReport:
        """Tick again and again until `stop()` or a signal, or until the time is up; see `FlowRunner.run`.

        Args:
            interval: seconds after which the database is looked at again, for flows that others made due.
            max_seconds: when to stop between two tasks; never unless given.
            handle_signals: False leaves signals to the application.
        """
        return self.runner.run(interval, max_seconds, handle_signals=handle_signals)

    def stop(self) -> None:
        """End `run`, `tick` or `loop` after the task under way, saved and released; from any thread."""
        self.runner.stop()

    # --- stored flows ----------------------------------------------------------------------

    def summary(self, key: str) -> FlowSummary:
        """Return what the database knows of one flow, without its tasks.

        Raises:
            FlowNotFoundError: there is none with that key.
        """
        return self.store.summary(key)

    def load(self, key: str) -> Flow:
        """Return a stored flow.

        Raises:
            FlowNotFoundError: there is none with that key.
        """
        return self.store.load(key)

    def history(self, key: str) -> Sequence[Event]:
        """Return all that happened to a stored flow, in order.

        Raises:
            FlowNotFoundError: there is none with that key.
        """
        return self.store.history.events(key)

    def explain(self, key: str, *, max_tasks: int = 20) -> Explanation:
        """Return why a stored flow does not move, until when, and what would move it.

        Tells of the sub-flows that it waits for, too. Of a large flow only as many tasks are read as are told
        of.

        Args:
            key: of the flow.
            max_tasks: unfinished tasks of each flow, at most.

        Raises:
            FlowNotFoundError: there is none with that key.
        """
        from mc.explanation.flow_reasons import explain_flow
        from mc.store.flow_facts import read_facts

        jobs = self.jobs
        found = read_facts(
            self.store, key, max_tasks=max_tasks, folder_of=jobs.folder_path, starter_of=jobs.starter_of
        )
        return explain_flow(found)

    def signal(
        self,
        key: str,
        name: str,
        data: Any = None,
        *,
        id: str | None = None,  # noqa: A002 - the senders' word
        by: str | None = None,
    ) -> bool:
        """Send a signal to a stored flow, which becomes due at once.

        It is kept until a task of the flow takes it, so it may come before the task waits. A paused or
        blocked flow keeps it until it goes on.

        Args:
            key: of the flow.
            name: what tasks wait for.
            data: any JSON value.
            id: unique in the flow: a second signal with it counts for nothing, so a sender that does not know
                whether its last attempt arrived can repeat it. Generated unless given.
            by: who sends it.

        Returns:
            False if the same signal was sent before.

        Raises:
            SignalError: the flow is finished, the data fit none of its tasks that wait for the name
                (`.problems` says where), or the id belongs to another signal.
            FlowNotFoundError: there is no flow with that key.
            NotJsonError: JSON cannot hold the data.
        """
        return self.store.messages.signal(key, name, data, id=id, by=by)

    def approve(self, key: str, task: str, *, by: str, comment: str | None = None) -> bool:
        """Say yes to what an `approval` task of a stored flow asks; the flow becomes due at once.

        Args:
            key: of the flow.
            task: key of the task; one inside other tasks may be named by its path, `outer/inner`.
            by: who decides.
            comment: why, for people.

        Returns:
            False if the same person said the same before.

        Raises:
            SignalError: the task does not wait for a decision, it asks others, or it was decided otherwise.
            FlowNotFoundError: there is no flow with that key.
        """
        return self.store.messages.decide(key, task, approved=True, by=by, comment=comment)

    def reject(self, key: str, task: str, *, by: str, comment: str | None = None) -> bool:
        """Say no to what an `approval` task of a stored flow asks; see `approve`."""
        return self.store.messages.decide(key, task, approved=False, by=by, comment=comment)

    @property
    def resources(self) -> ResourceStore:
        """The named resources that `cfg.resources` of tasks refer to: `set`, `list`, `get` and `delete`."""
        return self.store.resources

    # --- stored flows come and go ------------------------------------------------------------

    def export(self, key: str) -> dict[str, Any]:
        """Return a stored flow as a flow dict: JSON-safe data from which `import_` makes the same flow.

        Raises:
            FlowNotFoundError: there is none with that key.
        """
        return self.load(key).to_flow_dict()

    def import_(self, flow_dict: Mapping[str, Any], *, key: str | None = None) -> str:
        """Store a flow that was exported, as it was, and return its key.

        Args:
            flow_dict: what `export` returned.
            key: in the place of its own key.

        Raises:
            FlowFormatError: the flow dict is malformed, its parts do not fit together, or the flow waits for
                a stored sub-flow, which would not tell a copy of its end.
            NotJsonError: JSON cannot hold a part of it.
            FlowExistsError: a flow with that key is stored already.
        """
        from mc.flows.flow import Flow
        from mc.flows.flow_dict_checks import read_flow_dict

        if key is not None and isinstance(flow_dict, Mapping):
            flow_dict = {**flow_dict, "key": key}
        flow = read_flow_dict(Flow, flow_dict)
        self.store.create(flow)
        return flow.key

    def _is_same(self, flow: Flow) -> bool:
        """Tell whether the stored flow of that key was made from the same spec and data."""
        from mc.spec.digest import spec_digest

        stored = self.load(flow.key)
        return spec_digest(_without_key(stored.spec)) == spec_digest(_without_key(flow.spec))

    @staticmethod
    def _copy(data: Mapping[str, Any]) -> dict[str, Any]:
        from mc.context.json_values import copy_json

        copied: dict[str, Any] = copy_json(dict(data))
        return copied


def _without_key(spec: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (spec or {}).items() if name != "key"}
