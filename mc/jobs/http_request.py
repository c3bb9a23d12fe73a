"""Requests of the task type `http`, sent where their jobs run."""

from __future__ import annotations

import ipaddress
import json
import socket
import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import quote

from mc.errors import McError, NotAllowedError, SizeError

if TYPE_CHECKING:
    import httpx

__all__ = ["MAX_RESPONSE_BYTES", "HttpStatusError", "send_request"]

MAX_RESPONSE_BYTES: Final = 10_000_000  # of the body, unpacked
_SHOWN: Final = 500  # characters of the body, in the message of a failure
_READ_OF_FAILURES: Final = 65_536  # bytes
_SAFE: Final = "!#$&'()*+,-./:;<=>?@[]^_`{|}~"  # in a header; not `%`, which encodes the rest
_GLOBAL_V6: Final = ipaddress.ip_network("2000::/3")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class HttpStatusError(McError):
    """The response has a status that is not among those wished for."""

    code = "http-status"


def send_request(
    *,
    url: str,
    method: str,
    headers: Mapping[str, str],
    body: str | None = None,
    idempotency_key: str | None = None,
    ok_statuses: Collection[int] | None = None,
    timeout_seconds: float | None = None,
    may_be_private: bool = False,
) -> dict[str, Any]:
    r"""Send one request and return the response.

    No redirect is followed, no proxy is used, and no `.netrc` is read.

    Args:
        url: with a host in plain letters.
        method: in capitals.
        headers: all texts.
        body: JSON; None: none is sent.
        idempotency_key: sent unless `headers` has one; what a header cannot hold is encoded as in URLs.
        ok_statuses: those that are no failure; 200 to 299 unless given.
        timeout_seconds: for all of it; None: no limit.
        may_be_private: whether the host may be this machine, or one of a private network.

    Returns:
        `status`, `headers` (names in small letters), and `json` where the response says that it is JSON, else
        `text`, in which bytes that cannot be read are `\xNN`.

    Raises:
        HttpStatusError: the status is another; the class is `HttpStatus503` and so on.
        NotAllowedError: the address of the host is private.
        SizeError: the response is too large.
        TimeoutError: it took too long.
        ValueError: a header cannot be sent.
        httpx.HTTPError: the host cannot be reached, or what came back cannot be read.
    """
    try:
        import httpx
    except ImportError as error:
        raise ImportError(
            "Tasks of the type http need httpx where their jobs run, and it is not installed there. Run: "
            "pip install 'mission-control[http]'"
        ) from error
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    request = httpx.Request(
        method,
        url,
        headers=_make_headers(headers, idempotency_key, has_body=body is not None),
        content=None if body is None else body.encode(),
        extensions={"timeout": httpx.Timeout(timeout_seconds).as_dict()},
    )
    asked = f"{method} {request.url.copy_with(query=None, fragment=None)}"
    # A transport alone: it knows nothing of redirects, cookies, proxies and the environment.
    with httpx.HTTPTransport(verify=request.url.scheme == "https") as transport:
        try:
            response = _send(request, transport, may_be_private)
            try:
                return _read_response(response, asked, ok_statuses, deadline)
            finally:
                response.close()
        except httpx.TimeoutException as error:
            raise _timeout_error(asked) from error


def _make_headers(
    headers: Mapping[str, str], idempotency_key: str | None, *, has_body: bool
) -> list[tuple[bytes, bytes]]:
    given = {name.lower() for name in headers}
    own = {"Accept": "*/*", "Accept-Encoding": "gzip, deflate", "User-Agent": "MissionControl"}
    if has_body:
        own["Content-Type"] = "application/json"
    if idempotency_key is not None:
        own["Idempotency-Key"] = quote(idempotency_key, safe=_SAFE)
    all_headers = {**{name: value for name, value in own.items() if name.lower() not in given}, **headers}
    for name, value in all_headers.items():
        if any(char in value for char in "\r\n\0"):  # the value may be a secret
            raise ValueError(
                f"The header {name!r} cannot be sent: its value has more than one line, or a null character."
            )
    return [(name.encode(), value.strip(" \t").encode()) for name, value in all_headers.items()]


def _send(request: httpx.Request, transport: httpx.HTTPTransport, may_be_private: bool) -> httpx.Response:
    """Send a request to the first address of its host that can be reached; only checked ones are asked."""
    import httpx

    host = request.url.raw_host.decode("ascii").rstrip(".")
    addresses = _resolve(host, request.url.port or (443 if request.url.scheme == "https" else 80))
    if not may_be_private:
        _check_public(host, addresses)
    request.extensions["sni_hostname"] = host  # for whose name the certificate must be
    errors: list[str] = []
    for address in addresses:
        request.url = request.url.copy_with(host=address)
        try:
            return transport.handle_request(request)
        except httpx.ConnectError as error:
            errors.append(f"{address}: {error}")
    raise httpx.ConnectError(f"The host {host} cannot be reached: {'; '.join(errors)}")


def _resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, each once."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        import httpx

        raise httpx.ConnectError(f"The host {host} was not found: {error}") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _check_public(host: str, addresses: Collection[str]) -> None:
    shown = f"[{host}]" if ":" in host else host
    for address in addresses:
        if not _is_public(ipaddress.ip_address(address)):
            raise NotAllowedError(
                f"The host {host} has the address {address}, which is no public one. Leave to ask any host "
                f"does not reach private networks; if you trust the spec, allow http:{shown} too.",
                name="http",
            )


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(inner)
        if address not in _GLOBAL_V6:
            return False
    return address.is_global and not address.is_multicast


def _read_response(
    response: httpx.Response, asked: str, ok_statuses: Collection[int] | None, deadline: float | None
) -> dict[str, Any]:
    status = response.status_code
    if not (200 <= status <= 299 if ok_statuses is None else status in ok_statuses):
        _fail(response, asked, deadline)
    body, is_whole = _read_body(response, MAX_RESPONSE_BYTES, asked, deadline)
    if not is_whole:
        raise SizeError(
            f"The response to {asked} is larger than {MAX_RESPONSE_BYTES:,} bytes. Ask for less at a time (a "
            f"page, a filter), or fetch it into a file with a task of the type shell or job.",
            limit=MAX_RESPONSE_BYTES,
        )
    found: dict[str, Any] = {"status": status, "headers": dict(response.headers.items())}
    if body and _says_json(response):
        found["json"] = _read_json(body, asked)
    else:
        found["text"] = _read_text(body, response)
    return found


def _fail(response: httpx.Response, asked: str, deadline: float | None) -> NoReturn:
    status = response.status_code
    body, _ = _read_body(response, _READ_OF_FAILURES, asked, deadline)
    text = " ".join(_read_text(body, response).split())
    shown = text[:_SHOWN] + ("..." if len(text) > _SHOWN else "")
    message = f"{asked} was answered by {status} {response.reason_phrase}".rstrip()
    if response.has_redirect_location:
        message += f"; redirects are not followed, ask {response.headers['location'][:_SHOWN]} instead"
    message += f": {shown}" if shown else "."
    names = {"__module__": HttpStatusError.__module__, "__doc__": HttpStatusError.__doc__}
    raise type(f"HttpStatus{status}", (HttpStatusError,), names)(message, status=status)


def _read_body(
    response: httpx.Response, limit: int, asked: str, deadline: float | None
) -> tuple[bytes, bool]:
    """Return the body up to a number of bytes, and whether that is all of it."""
    body = bytearray()
    for part in response.iter_bytes():
        body += part
        if len(body) > limit:
            return bytes(body[:limit]), False
        if deadline is not None and time.monotonic() > deadline:
            raise _timeout_error(asked)
    return bytes(body), True


def _says_json(response: httpx.Response) -> bool:
    kind: str = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _read_json(body: bytes, asked: str) -> Any:
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        import httpx

        raise httpx.DecodingError(
            f"The response to {asked} says that it is JSON, and is not: {error}."
        ) from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _read_text(body: bytes, response: httpx.Response) -> str:
    try:
        return body.decode(response.encoding or "utf-8", "backslashreplace")
    except (LookupError, UnicodeError):  # a charset that is none of texts
        return body.decode("utf-8", "backslashreplace")


def _timeout_error(asked: str) -> TimeoutError:
    return TimeoutError(f"{asked} took longer than the timeout of its task. Give it more time.")
