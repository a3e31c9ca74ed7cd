"""Pages that this machine alone can open: a server on its own address, and what it answers with."""

import errno
import http.server
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from recipe_jax.types import UserError

ADDRESS = "127.0.0.1"
NAMES = ("127.0.0.1", "localhost")
IDLE_SECONDS = 30

AnyServer = TypeVar("AnyServer", bound="Server")


class Server(http.server.ThreadingHTTPServer):
    """Serves on this machine's own address; port 0 takes any that is free."""

    daemon_threads = True

    def __init__(self, port: int, handler: type["Handler"]):
        super().__init__((ADDRESS, port), handler)

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://{ADDRESS}:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that hangs up, as it does when its page is closed, is no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    """What all pages share: who may ask, and the headers of every answer."""

    # A browser opens connections ahead that it may never use.
    timeout = IDLE_SECONDS

    def policy(self) -> str:
        """The Content-Security-Policy of every answer."""
        return "default-src 'none'; frame-ancestors 'none'"

    def from_here(self) -> bool:
        """Whether the page was asked for by its own name: under any other a page from elsewhere
        could have been pointed at this address (DNS rebinding). If not, it is refused."""
        host = self.headers.get_all("Host") or [""]
        name, _, port = host[0].partition(":")
        if len(host) == 1 and name in NAMES and (port.isdecimal() or not port):
            return True
        self.say(421, "This page is served to this machine alone, as localhost.")
        return False

    def say(self, code: int, sentence: str) -> None:
        """Answers with one sentence."""
        self.send(code, sentence + "\n", "text/plain")

    def send(self, code: int, content: str, kind: str, **headers: str) -> None:
        """Answers with a text of this media type."""
        body = content.encode()
        self.send_response(code)
        for name, value in {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(body)),
            "Content-Security-Policy": self.policy(),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-store",
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *words: Any) -> None:
        """The console is for the person."""

    def version_string(self) -> str:
        """Nothing about this machine."""
        return "recipe_jax"


def listening(make: Callable[[int], AnyServer], port: int) -> AnyServer:
    """A server at the port, or UserError."""
    try:
        return make(port)
    except OSError as error:
        why = "is in use" if error.errno == errno.EADDRINUSE else f"is refused ({error.strerror})"
        raise UserError(f"--port {port} {why}; name another, or 0 for any that is free.") from error
