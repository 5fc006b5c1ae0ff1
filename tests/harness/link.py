"""A Python test's side of what pair.c is for C: the role, the link, the port, the first connection."""
import os
import socket
import struct
import sys

role = sys.argv[1]
_link = socket.socket(fileno=int(os.environ["PAIR_LINK"]))


def tell(n):
    _link.send(struct.pack("q", n))


def wait_for():
    return struct.unpack("q", _link.recv(8))[0]


def listener():
    """The server's listening socket; the client gets None and knows the port."""
    global port
    if role == "server":
        s = socket.create_server(("127.0.0.1", 0))
        port = s.getsockname()[1]
        tell(port)
        return s
    port = wait_for()
    return None


def pattern(n, seed=1):
    block = bytes((i * 131 + seed * 17 + (i >> 8) * 7) & 255 for i in range(65536))
    return (block * (n // 65536 + 1))[:n]
