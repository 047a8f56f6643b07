"""A client without a ZeroMQ library, written from docs/protocol.md alone.

    plain.py tcp://HOST:PORT < MESSAGES

Each line is a message, its frames set apart by tabs.
"""

import socket
import sys

GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL" + bytes(16) + bytes(32)
MORE, LONG, COMMAND = 1, 2, 4


def frame(flags, body):
    if len(body) <= 255:
        return bytes([flags, len(body)]) + body
    return bytes([flags | LONG]) + len(body).to_bytes(8, "big") + body


def ready():
    name, value = b"Socket-Type", b"PUSH"
    body = b"\x05READY" + bytes([len(name)]) + name + len(value).to_bytes(4, "big") + value
    return frame(COMMAND, body)


def message(frames):
    last = len(frames) - 1
    return b"".join(frame(MORE if at < last else 0, body) for at, body in enumerate(frames))


def read(stream, count):
    there = stream.read(count)
    if len(there) < count:
        sys.exit("the portal has closed the connection")
    return there


def main():
    host, port = sys.argv[1].removeprefix("tcp://").rsplit(":", 1)
    with socket.create_connection((host.strip("[]"), int(port))) as connection:
        stream = connection.makefile("rb")
        connection.sendall(GREETING)
        greeting = read(stream, 64)
        if greeting[0] != 0xFF or greeting[9] != 0x7F or greeting[10] < 3:
            sys.exit("not a portal")
        connection.sendall(ready())
        flags, length = read(stream, 2)
        command = read(stream, length)
        if flags != COMMAND or not command.startswith(b"\x05READY") or b"PULL" not in command:
            sys.exit("not a portal's door for clients")
        for line in sys.stdin.buffer:
            connection.sendall(message(line.rstrip(b"\n").split(b"\t")))
        connection.shutdown(socket.SHUT_WR)
        # When the portal has closed it too, it has read everything.
        stream.read()


main()
