"""Echo between two hosts in Python's own ways; what the client prints depends on its arguments alone.

    net_echo.py asyncio HOST PORT                          one event loop, streams
    net_echo.py prefork HOST PORT                          children that accept from one listener
    net_echo.py talk HOST PORT CONNECTIONS ROUNDS BYTES    all connections at the same time, non-blocking connect
"""
import asyncio
import hashlib
import os
import random
import socket
import sys

PAUSE = 0.05    # between rounds: meanwhile the library opens rdma-core
CHILDREN = 3


async def echo(reader, writer):
    while data := await reader.read(1 << 18):
        writer.write(data)
        await writer.drain()
    writer.close()


async def serve_asyncio(host, port):
    server = await asyncio.start_server(echo, host, port)
    print('listening', flush=True)
    await server.serve_forever()


def serve_child(listener):
    while True:
        conn, _ = listener.accept()
        with conn:
            while data := conn.recv(1 << 18):
                conn.sendall(data)


def serve_prefork(host, port):
    listener = socket.create_server((host, port))
    children = [os.fork() for _ in range(CHILDREN) if os.getpid() == parent]
    if os.getpid() != parent:
        serve_child(listener)
    print('listening', flush=True)
    for _ in children:
        os.wait()


async def talk_one(number, host, port, rounds, size):
    reader, writer = await asyncio.open_connection(host, port)
    dice, seen = random.Random(number), hashlib.sha256()
    for _ in range(rounds):
        sent = dice.randbytes(dice.randrange(1, size))
        writer.write(sent)
        got = await reader.readexactly(len(sent))
        assert got == sent, f'connection {number}: other bytes came back'
        seen.update(got)
        await asyncio.sleep(PAUSE)
    writer.write_eof()
    assert await reader.read() == b'', f'connection {number}: bytes after the end'
    writer.close()
    return seen.hexdigest()


async def talk(host, port, connections, rounds, size):
    for digest in await asyncio.gather(*(talk_one(i, host, port, rounds, size) for i in range(connections))):
        print(digest)


parent = os.getpid()
verb, at, *numbers = sys.argv[1:]
numbers = list(map(int, numbers))
if verb == 'prefork':
    serve_prefork(at, *numbers)
else:
    asyncio.run(serve_asyncio(at, *numbers) if verb == 'asyncio' else talk(at, *numbers))
