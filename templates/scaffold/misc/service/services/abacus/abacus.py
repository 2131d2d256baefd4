"""The abacus master. Speaks lines of text on TCP port 1337."""

import secrets
import socketserver

N_SUMS = 100
MAX_LINE_BYTES = 64


class Master(socketserver.StreamRequestHandler):
    timeout = 3

    def handle(self):
        self.say(f"Abacus master: {N_SUMS} sums")
        for _ in range(N_SUMS):
            left, right = secrets.randbelow(10**6), secrets.randbelow(10**6)
            self.say(f"{left} + {right}")
            if self.rfile.readline(MAX_LINE_BYTES).strip() != str(left + right).encode():
                self.say("No.")
                return
        with open("/answers/flag", encoding="ascii") as word:
            self.say(f"My word is {word.read()}")

    def say(self, line):
        self.wfile.write(line.encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    with Server(("", 1337), Master) as server:
        server.serve_forever()
