"""The cloakroom of the opera, on HTTP port 8080."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

COATS = {101: "a fur coat", 102: "two umbrellas", 103: "a violin case", 104: "your coat"}
FRONT = '<h1>Cloakroom</h1><p>Your ticket: <a href="/hook?number=104">104</a></p>'


def hanging(number):
    """What is on a hook."""
    if number == 7:
        with open("/answers/flag", encoding="ascii") as note:
            return f"the director's coat, a note in its pocket: {note.read()}"
    return COATS.get(number, "nothing")


class Cloakroom(BaseHTTPRequestHandler):
    timeout = 15

    def do_GET(self):
        url = urlsplit(self.path)
        number = parse_qs(url.query).get("number", [""])[0]
        if url.path == "/healthz":
            self.answer(200, "ok")
        elif url.path == "/":
            self.answer(200, FRONT)
        elif url.path == "/hook" and number.isdecimal() and len(number) < 9:
            self.answer(200, f"<p>On hook {int(number)}: {hanging(int(number))}</p>")
        else:
            self.answer(404, "no such hook")

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing: requests are the player's business."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8080), Cloakroom).serve_forever()
