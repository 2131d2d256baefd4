"""A stand-in for ``requests.Session`` on machines that have only the standard library.

Covers what a short exploit uses: ``get``, ``post``, ``put``, ``patch``, ``delete``, ``head``,
``options`` and ``request`` with ``params``, ``data``, ``json``, ``headers``, ``cookies``, ``auth``,
``timeout`` and ``allow_redirects``; cookies are kept between requests; a status of 400 and above is
a response, not an exception.
"""

import base64
import json as json_codec
import ssl
from http.cookiejar import Cookie, CookieJar
from typing import Any, Iterator, Mapping, Optional, Tuple, Union
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import (
    HTTPCookieProcessor,
    HTTPRedirectHandler,
    HTTPSHandler,
    Request,
    build_opener,
)

_METHODS = ("put", "patch", "delete", "head", "options")


class Cookies(CookieJar):
    """The cookies of a session, also usable like a dictionary of names and values."""

    def set(self, name: str, value: str, domain: str = "", path: str = "/") -> None:
        rest = {"HttpOnly": None}
        self.set_cookie(
            Cookie(0, name, value, None, False, domain, bool(domain), domain.startswith("."),
                   path, True, False, None, True, None, None, rest)
        )

    def get(self, name: str, default: Optional[str] = None) -> Optional[str]:
        return self.get_dict().get(name, default)

    def get_dict(self) -> dict:
        return {cookie.name: cookie.value for cookie in self}

    def update(self, values: Union[Mapping[str, str], CookieJar]) -> None:
        if isinstance(values, CookieJar):
            for cookie in values:
                self.set_cookie(cookie)
            return
        for name, value in values.items():
            self.set(name, value)

    def keys(self) -> Iterator[str]:
        return iter(self.get_dict())

    def __getitem__(self, name: str) -> Any:
        return self.get_dict()[name]

    def __setitem__(self, name: str, value: str) -> None:
        self.set(name, value)

    def __contains__(self, name: object) -> bool:
        return name in self.get_dict()


class Response:
    """What came back, read to its end."""

    def __init__(self, raw: Any, cookies: Cookies) -> None:
        self.status_code: int = raw.status
        self.reason: str = raw.reason
        self.headers = raw.headers
        self.url: str = raw.url
        self.cookies = cookies
        self.content: bytes = raw.read()

    @property
    def text(self) -> str:
        charset = self.headers.get_content_charset() or "utf-8"
        try:
            return self.content.decode(charset, "replace")
        except LookupError:
            # The server names an encoding that does not exist.
            return self.content.decode("utf-8", "replace")

    @property
    def ok(self) -> bool:
        return self.status_code < 400

    def json(self) -> Any:
        return json_codec.loads(self.content)

    def raise_for_status(self) -> None:
        if not self.ok:
            raise OSError(f"{self.status_code} for {self.url}")


class _StayHere(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


class Session:
    """Makes requests and remembers cookies."""

    def __init__(self) -> None:
        self.headers: dict = {}
        self.verify = True
        self.auth: Optional[Tuple[str, str]] = None
        self.cookies = Cookies()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is kept open."""

    def get(self, url: str, **options: Any) -> Response:
        return self.request("GET", url, **options)

    def post(self, url: str, data: Any = None, **options: Any) -> Response:
        return self.request("POST", url, data=data, **options)

    def __getattr__(self, name: str) -> Any:
        if name not in _METHODS:
            raise AttributeError(name)
        return lambda url, **options: self.request(name, url, **options)

    def request(
        self,
        method: str,
        url: str,
        params: Optional[Mapping[str, Any]] = None,
        data: Any = None,
        json: Any = None,
        headers: Optional[Mapping[str, str]] = None,
        cookies: Optional[Mapping[str, str]] = None,
        auth: Optional[Tuple[str, str]] = None,
        timeout: float = 30,
        allow_redirects: bool = True,
        verify: Optional[bool] = None,
    ) -> Response:
        if params:
            url += ("&" if "?" in url else "?") + urlencode(params, doseq=True)
        sent = dict(self.headers)
        body = _encode(data, json, sent)
        sent.update(headers or {})
        known = {**self.cookies.get_dict(), **(cookies or {})}
        # Those set by hand belong to no host, so the jar would keep them to itself.
        if cookies or any(not cookie.domain for cookie in self.cookies):
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in known.items())
        who = auth or self.auth
        if who:
            sent["Authorization"] = "Basic " + base64.b64encode(":".join(who).encode()).decode()
        checks = self.verify if verify is None else verify
        request = Request(url, data=body, headers=sent, method=method.upper())
        opener = self._opener(allow_redirects, checks)
        try:
            return Response(opener.open(request, timeout=timeout), self.cookies)
        except HTTPError as refused:
            return Response(refused, self.cookies)

    def _opener(self, allow_redirects: bool, verify: bool) -> Any:
        context = ssl.create_default_context()
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        handlers = [HTTPCookieProcessor(self.cookies), HTTPSHandler(context=context)]
        if not allow_redirects:
            handlers.append(_StayHere())
        return build_opener(*handlers)


def _encode(data: Any, json: Any, headers: dict) -> Optional[bytes]:
    """The body as bytes; adds its content type to ``headers``."""
    if json is not None:
        headers["Content-Type"] = "application/json"
        return json_codec.dumps(json).encode()
    if isinstance(data, (Mapping, list, tuple)):
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        return urlencode(data, doseq=True).encode()
    if isinstance(data, str):
        return data.encode()
    return data
