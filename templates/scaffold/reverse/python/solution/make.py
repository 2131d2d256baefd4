"""Writes the program of the lock for another phrase: `python3 solution/make.py 'YOUR PHRASE'`."""

import pathlib
import sys

PROGRAM = pathlib.Path(__file__).parent.parent / "attachments" / "lock.hex"


def program(phrase):
    """Four steps for each byte, then one for the length."""
    steps = []
    for place, byte in enumerate(phrase):
        mask, shift = (place * 73 + 41) % 256, place * 17 % 256
        steps += [0x10, place, 0x20, mask, 0x30, shift, 0x40, ((byte ^ mask) + shift) % 256]
    return bytes([*steps, 0x50, len(phrase)])


if __name__ == "__main__":
    if len(sys.argv) != 2 or not 0 < len(sys.argv[1].encode()) < 200:
        sys.exit("usage: make.py PHRASE, of at most 199 bytes")
    digits = program(sys.argv[1].encode()).hex()
    lines = [digits[start : start + 64] for start in range(0, len(digits), 64)]
    PROGRAM.write_text("\n".join(lines) + "\n", encoding="ascii")
    print(f"{PROGRAM} is written; now put the phrase into `answer` of metadata.yaml")
