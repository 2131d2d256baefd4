"""The cloakroom of the opera, on HTTP port 8080."""

from flask import Flask, abort, request
from waitress import serve

app = Flask(__name__)
COATS = {101: "a fur coat", 102: "two umbrellas", 103: "a violin case", 104: "your coat"}


@app.get("/healthz")
def healthz():
    return "ok"


@app.get("/")
def front():
    return '<h1>Cloakroom</h1><p>Your ticket: <a href="/hook?number=104">104</a></p>'


@app.get("/hook")
def hook():
    number = request.args.get("number", type=int)
    if number is None:
        abort(404)
    return f"<p>On hook {number}: {hanging(number)}</p>"


def hanging(number):
    """What is on a hook."""
    if number == 7:
        with open("/answers/flag", encoding="ascii") as note:
            return f"the director's coat, a note in its pocket: {note.read()}"
    return COATS.get(number, "nothing")


if __name__ == "__main__":
    serve(app, listen="*:8080", threads=8)
