"""The task type `http`: sends one request as a job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from mc.context.json_values import dumps
from mc.durations import parse_duration
from mc.flows.calls.missing_handlers import put_off_unless_leave
from mc.flows.jobs.job import Outcome
from mc.task_handlers.bases.base_job_task_handler import BaseJobTaskHandler

__all__ = ["HttpTaskHandler", "TaskHandler"]

_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OF_THE_URL: Final = frozenset({"host", "content-length", "transfer-encoding"})
_STATUS: Final = re.compile(r"HttpStatus([0-9]{3})")


class HttpTaskHandler(BaseJobTaskHandler):
    """Sends a request to `url`; leaves `status`, `headers`, and `json` or `text`.

    Secrets are filled in where the spec itself names them in `headers`, and never where data do.
    """

    uninterpolated_params: ClassVar[frozenset[str]] = frozenset({"headers"})

    def make_work(self) -> Mapping[str, Any]:
        """Return the request, as a call of the function that sends it."""
        put_off_unless_leave("http", self.task_ctx)
        allowed = self.task_ctx.engine.registry.allowed
        url = self.read_param("url", str)
        allowed.check_url(url)
        if "${secret." in url:
            raise self.spec_error("task_params.url names a secret; put it into headers, which are not stored")
        method = self.read_param("method", str, "GET")
        if not re.fullmatch(r"[A-Za-z]+", method):
            raise self.spec_error(f"task_params.method is {method!r:.50}; expected a method such as POST")
        timeout = (self.task.get("cfg") or {}).get("timeout")
        request = {
            "url": url,
            "method": method.upper(),
            "headers": self._make_headers(),
            # As text, so that nothing is filled in below a key that is called `headers` too.
            "body": dumps(self.params["json"]) if "json" in self.params else None,
            "idempotency_key": self.task_ctx["idempotency_key"],
            "ok_statuses": self._read_ok_statuses(),
            "timeout_seconds": parse_duration(timeout) if timeout is not None else None,
            "may_be_private": allowed.names_host(url),
        }
        function = "mc.jobs.http_request:send_request"
        return {"type": "function", "function": function, "kwargs": request, "fills_headers": True}

    def read_outcome(self, outcome: Outcome) -> Mapping[str, Any]:
        """Return the response; of one whose status is a failure, the status alone."""
        if outcome.status == "COMPLETED":
            return dict(outcome.result)
        status = _STATUS.fullmatch(str((outcome.error or {}).get("type")))
        return {"status": int(status.group(1))} if status else {}

    def _make_headers(self) -> dict[str, str]:
        headers = self.read_texts("headers")
        for name in headers:
            if not _HEADER_NAME.fullmatch(name):
                raise self.spec_error(f"task_params.headers: {name!r:.50} is no name of a header")
            if name.lower() in _OF_THE_URL:
                raise self.spec_error(
                    f"task_params.headers: {name!r} follows from the url and the json; leave it out"
                )
        return headers

    def _read_ok_statuses(self) -> list[int] | None:
        statuses: list[Any] | None = self.read_param("ok_statuses", list, None)
        if statuses is not None and not all(type(each) is int for each in statuses):
            raise self.spec_error("task_params.ok_statuses must be a list of whole numbers, as [200, 404]")
        return statuses


TaskHandler = HttpTaskHandler
