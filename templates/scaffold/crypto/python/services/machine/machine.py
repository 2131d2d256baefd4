"""The embassy's sealing machine. Speaks lines of hex digits on TCP port 31313."""

import hashlib
import secrets
import socketserver

KEY = secrets.token_bytes(32)
MAX_LINE_BYTES = 2048
MAX_LINES = 32


def seal(text):
    """Combines a text with the bytes that the key gives, block by block."""
    blocks = range(len(text) // 32 + 1)
    pad = b"".join(hashlib.sha256(KEY + bytes([block])).digest() for block in blocks)
    return bytes(left ^ right for left, right in zip(text, pad))


class Machine(socketserver.StreamRequestHandler):
    timeout = 30

    def handle(self):
        with open("/answers/flag", "rb") as dispatch:
            self.say(f"dispatch {seal(dispatch.read()).hex()}")
        self.say("seal <hex>")
        for _ in range(MAX_LINES):
            words = self.rfile.readline(MAX_LINE_BYTES).decode("ascii", "replace").split()
            if len(words) != 2 or words[0] != "seal":
                return
            try:
                self.say(seal(bytes.fromhex(words[1])).hex())
            except ValueError:
                self.say("these are no hex digits")

    def say(self, line):
        self.wfile.write(line.encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    with Server(("", 31313), Machine) as server:
        server.serve_forever()
