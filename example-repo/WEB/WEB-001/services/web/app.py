"""The station's lost and found office: one page with a search box."""

import html
import sqlite3
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

ITEMS = [
    ("umbrella, black", "platform 2"),
    ("umbrella, yellow with ducks", "waiting room"),
    ("left glove", "night train to Vienna"),
    ("trombone", "platform 7"),
    ("paperback, last page missing", "café"),
]

PAGE = """<!doctype html>
<meta charset="utf-8"><title>Lost and found</title>
<h1>Lost and found</h1>
<form action="/search"><input name="q" value="{query}"> <button>Search</button></form>
<table>{rows}</table>
"""


def open_database():
    """Fills a database in memory; every process start gets a fresh one."""
    db = sqlite3.connect("file:office?mode=memory&cache=shared", uri=True)
    db.execute("CREATE TABLE items (what TEXT, place TEXT)")
    db.executemany("INSERT INTO items VALUES (?, ?)", ITEMS)
    db.execute("CREATE TABLE lockers (number INTEGER, content TEXT)")
    with open("/answers/flag", encoding="ascii") as answer:
        db.executemany(
            "INSERT INTO lockers VALUES (?, ?)",
            [(7, "a suitcase"), (13, answer.read().strip()), (21, "nothing")],
        )
    db.commit()
    return db


def search(query):
    """Every item whose description contains the query."""
    db = sqlite3.connect("file:office?mode=memory&cache=shared", uri=True)
    try:
        db.execute("PRAGMA query_only = ON")
        return db.execute(
            f"SELECT what, place FROM items WHERE what LIKE '%{query}%' ORDER BY what"
        ).fetchall()
    finally:
        db.close()


class Office(BaseHTTPRequestHandler):
    timeout = 15

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/healthz":
            self.answer(200, "ok")
        elif url.path in ("/", "/search"):
            self.show(parse_qs(url.query).get("q", [""])[0])
        else:
            self.answer(404, "no such page")

    def show(self, query):
        try:
            found = search(query)
        except sqlite3.Error as error:
            self.answer(500, f"the clerk is confused: {html.escape(str(error))}")
            return
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
            for row in found
        )
        self.answer(200, PAGE.format(query=html.escape(query), rows=rows))

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
    keep_open = open_database()
    ThreadingHTTPServer(("", 8080), Office).serve_forever()
