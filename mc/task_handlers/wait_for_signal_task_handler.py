"""The task type `wait_for_signal`: waits for a named message to the flow."""

from __future__ import annotations

from mc.context.json_values import copy_json
from mc.flows.state.mailbox import Signal
from mc.spec.names import MAX_NAME_LENGTH, RESERVED_PREFIX, is_name
from mc.task_handlers.bases.base_signal_task_handler import BaseSignalTaskHandler

__all__ = ["TaskHandler", "WaitForSignalTaskHandler"]


class WaitForSignalTaskHandler(BaseSignalTaskHandler):
    """Takes the oldest signal of a name whose data fit `schema`, and leaves its data as `signal`."""

    def find_signal_name(self, wait_id: str) -> str:
        """Return the parameter `signal`, after a look at `schema`."""
        name: str = self.read_param("signal", str)
        if not is_name(name) or name.startswith(RESERVED_PREFIX):
            found = "empty" if not name else repr(name[:60])
            raise self.spec_error(
                f"task_params.signal is {found}; expected the name of a signal: at most {MAX_NAME_LENGTH} "
                f"characters that can be printed, not all of them spaces, and not beginning with "
                f"{RESERVED_PREFIX!r}"
            )
        schema = self.read_param("schema", object, None)
        if schema is not None:
            self._check_schema(schema)
        return name

    def on_signal(self, signal: Signal) -> None:
        """Complete with the signal's data."""
        self.complete(signal=copy_json(signal.data))

    def on_timeout(self) -> None:
        """Complete with `default`, or fail."""
        if "default" in self.params:
            self.complete(signal=copy_json(self.params["default"]))
            return
        raise TimeoutError(
            f"No signal {self.params['signal']!r} came within the timeout ({self.params['timeout']})."
        )

    def _check_schema(self, schema: object) -> None:
        from mc.spec.findings import Findings
        from mc.spec.schema.params_schema import check_params_schema

        findings = Findings(None)
        if isinstance(schema, dict):
            check_params_schema(schema, "/task_params/schema", findings)
        if not isinstance(schema, dict) or findings.problems:
            reason = f": {findings.problems[0].message.rstrip('.')}" if findings.problems else ""
            raise self.spec_error(f"task_params.schema is not a JSON Schema{reason}")


TaskHandler = WaitForSignalTaskHandler
