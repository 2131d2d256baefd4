"""A stand-in for ``requests.Session`` on machines that have only the standard library.

Covers what a short exploit uses: ``get``, ``post`` and ``request`` with ``params``, ``data``,
``json``, ``headers``, ``cookies``, ``timeout`` and ``allow_redirects``; cookies are kept between
requests; a status of 400 and above is a response, not an exception.
"""

import json as json_codec
import ssl
from http.cookiejar import CookieJar
from typing import Any, Mapping, Optional, Union
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import (
    HTTPCookieProcessor,
    HTTPRedirectHandler,
    HTTPSHandler,
    Request,
    build_opener,
)


class Response:
    """What came back, read to its end."""

    def __init__(self, raw: Any) -> None:
        self.status_code: int = raw.status
        self.headers = raw.headers
        self.url: str = raw.url
        self.content: bytes = raw.read()

    @property
    def text(self) -> str:
        charset = self.headers.get_content_charset() or "utf-8"
        return self.content.decode(charset, "replace")

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
        self._jar = CookieJar()

    def get(self, url: str, **options: Any) -> Response:
        return self.request("GET", url, **options)

    def post(self, url: str, data: Any = None, **options: Any) -> Response:
        return self.request("POST", url, data=data, **options)

    def request(
        self,
        method: str,
        url: str,
        params: Optional[Mapping[str, Any]] = None,
        data: Union[None, bytes, str, Mapping[str, Any]] = None,
        json: Any = None,
        headers: Optional[Mapping[str, str]] = None,
        cookies: Optional[Mapping[str, str]] = None,
        timeout: float = 30,
        allow_redirects: bool = True,
        verify: Optional[bool] = None,
    ) -> Response:
        if params:
            url += ("&" if "?" in url else "?") + urlencode(params, doseq=True)
        sent = dict(self.headers)
        body = _encode(data, json, sent)
        sent.update(headers or {})
        if cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        checks = self.verify if verify is None else verify
        request = Request(url, data=body, headers=sent, method=method.upper())
        try:
            return Response(self._opener(allow_redirects, checks).open(request, timeout=timeout))
        except HTTPError as refused:
            return Response(refused)

    def _opener(self, allow_redirects: bool, verify: bool) -> Any:
        context = ssl.create_default_context()
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        handlers = [HTTPCookieProcessor(self._jar), HTTPSHandler(context=context)]
        if not allow_redirects:
            handlers.append(_StayHere())
        return build_opener(*handlers)


def _encode(data: Any, json: Any, headers: dict) -> Optional[bytes]:
    """The body as bytes; adds its content type to ``headers``."""
    if json is not None:
        headers["Content-Type"] = "application/json"
        return json_codec.dumps(json).encode()
    if isinstance(data, Mapping):
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        return urlencode(data, doseq=True).encode()
    if isinstance(data, str):
        return data.encode()
    return data
