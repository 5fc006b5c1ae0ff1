"""A client whose first steps stand between two marks (getppid), and its server; both print how many bytes there were, and their hash.

    net_first.py serve HOST PORT
    net_first.py talk HOST PORT FROM FILE    goes on until FILE is there
"""
import hashlib
import os
import socket
import sys

FIRST, MORE = 1000, 65536


def show(count, digest):
    print(count, digest.hexdigest(), flush=True)


def serve(host, port):
    """Answers each piece with a byte, so that both ends have calls that block."""
    listener, count, digest = socket.create_server((host, port)), 0, hashlib.sha256()
    print('listening', flush=True)
    conn, _ = listener.accept()
    for size in iter(lambda: MORE if count else FIRST, None):
        data = conn.recv(size, socket.MSG_WAITALL)
        if not data:
            break
        count += len(data)
        digest.update(data)
        conn.sendall(b'.')
    show(count, digest)


def talk(host, port, source, file):
    count, digest, size = 0, hashlib.sha256(), FIRST
    conn = socket.socket()
    conn.bind((source, 0))
    os.getppid()
    conn.connect((host, port))
    while not count or not os.path.exists(file):
        data = os.urandom(size) if count else bytes(size)
        conn.sendall(data)
        if not count:
            os.getppid()
        assert conn.recv(1) == b'.'
        count += size
        digest.update(data)
        size = MORE
    conn.close()
    show(count, digest)


verb, at, number, *more = sys.argv[1:]
serve(at, int(number)) if verb == 'serve' else talk(at, int(number), *more)
