"""The pinboard: notes go into redis and come back by number."""

import html
import os
import secrets
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

DATABASE = (os.environ.get("DB_HOST", "db"), 6379)
MAX_NOTE_BYTES = 2000
MAX_REPLY_BYTES = 64 * 1024

PAGE = """<!doctype html>
<meta charset="utf-8"><title>Pinboard</title>
<h1>Pinboard</h1>
<form action="/pin" method="post"><textarea name="note"></textarea> <button>Pin</button></form>
<form action="/note"><input name="id" placeholder="number"> <button>Read</button></form>
<pre>{text}</pre>
"""


def ask(command):
    """Sends one line to the database and returns everything it has to say."""
    with socket.create_connection(DATABASE, timeout=5) as link:
        link.sendall(command + b"\r\nQUIT\r\n")
        reply = b""
        while len(reply) < MAX_REPLY_BYTES:
            more = link.recv(4096)
            if not more:
                break
            reply += more
    return reply


def texts(reply):
    """The lines of a reply that carry text: everything but the lengths and the good-bye."""
    lines = reply.decode("utf-8", "replace").split("\r\n")
    return [line for line in lines if line and line[0] not in "$*+:"]


class Board(BaseHTTPRequestHandler):
    timeout = 15

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/healthz":
            healthy = b"PONG" in ask(b"PING")
            self.answer(200 if healthy else 503, "ok" if healthy else "no database")
        elif url.path == "/note":
            number = parse_qs(url.query).get("id", [""])[0]
            found = texts(ask(b"GET note:" + number.encode()))
            self.answer(200, "\n".join(found) or "There is no such note.")
        elif url.path == "/":
            self.answer(200, "")
        else:
            self.answer(404, "no such page")

    def do_POST(self):
        length = min(int(self.headers.get("Content-Length") or 0), MAX_NOTE_BYTES)
        note = parse_qs(self.rfile.read(length).decode("utf-8", "replace")).get("note", [""])[0]
        number = secrets.token_hex(4)
        ask(b"SET note:%s %s EX 3600" % (number.encode(), quoted(note)))
        self.answer(200, f"Pinned. Its number is {number}.")

    def answer(self, status, text):
        body = PAGE.format(text=html.escape(text)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing: requests are the player's business."""


def quoted(text):
    """A text as one argument of the database's line protocol."""
    escaped = "".join(f"\\x{byte:02x}" for byte in text.encode())
    return b'"%s"' % escaped.encode()


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8080), Board).serve_forever()
