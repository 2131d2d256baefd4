"""The lock of the observatory: a small machine that runs `lock.hex` on the phrase you enter."""

import pathlib
import sys

PROGRAM = pathlib.Path(__file__).with_name("lock.hex")


def opens(program, phrase):
    """Runs the program: two bytes each, what to do and with which number."""
    register = 0
    for operation, number in zip(program[::2], program[1::2]):
        if operation == 0x10:
            if number >= len(phrase):
                return False
            register = phrase[number]
        elif operation == 0x20:
            register ^= number
        elif operation == 0x30:
            register = (register + number) % 256
        elif operation == 0x40:
            if register != number:
                return False
        elif operation == 0x50:
            return len(phrase) == number
    return False


if __name__ == "__main__":
    entered = sys.argv[1] if len(sys.argv) > 1 else input("Phrase: ")
    lock = bytes.fromhex(PROGRAM.read_text(encoding="ascii"))
    print("The dome opens." if opens(lock, entered.encode()) else "Nothing moves.")
