"""The notary's procedure. Speaks lines of text on TCP port 31313."""

import secrets
import socketserver

E = 65537
ORDER = int.from_bytes(b"open the safe", "big")
MAX_LINE_BYTES = 2048
MAX_LINES = 32


def is_prime(n):
    """Miller-Rabin with 24 random bases."""
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(24):
        x = pow(secrets.randbelow(n - 3) + 2, odd, n)
        if x in (1, n - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def prime(bits):
    """A random prime of so many bits that suits the exponent."""
    while True:
        n = secrets.randbits(bits) | (3 << (bits - 2)) | 1
        if all(n % small for small in (3, 5, 7, 11, 13, 17, 19, 23)) and n % E != 1 and is_prime(n):
            return n


P, Q = prime(384), prime(384)
N, D = P * Q, pow(E, -1, (P - 1) * (Q - 1))


class Notary(socketserver.StreamRequestHandler):
    timeout = 30

    def handle(self):
        self.say(f"n={N}")
        self.say(f"e={E}")
        self.say("sign <number> | open <signature>")
        for _ in range(MAX_LINES):
            words = self.rfile.readline(MAX_LINE_BYTES).decode("ascii", "replace").split()
            if len(words) != 2 or not words[1].isdecimal():
                return
            verb, number = words[0], int(words[1])
            if verb == "sign":
                self.sign(number)
            elif verb == "open":
                self.open_safe(number)
            else:
                return

    def sign(self, number):
        if number % N == ORDER:
            self.say("The notary does not sign this.")
        else:
            self.say(str(pow(number, D, N)))

    def open_safe(self, signature):
        if pow(signature, E, N) != ORDER:
            self.say("This is not the notary's signature.")
            return
        with open("/answers/flag", encoding="ascii") as safe:
            self.say(safe.read().strip())

    def say(self, line):
        self.wfile.write(line.encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    with Server(("", 31313), Notary) as server:
        server.serve_forever()
