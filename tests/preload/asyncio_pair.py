"""asyncio streams: many connections, small and large messages both ways, half-close, cancelled reads."""
import asyncio
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
import link  # noqa: E402

CONNECTIONS = 10
SIZES = [1, 50, 5000, 70000, 1, 600000, 10, 3000000, 1]


async def serve(reader, writer, done):
    try:
        while True:
            head = await reader.readexactly(4)
            body = await reader.readexactly(int.from_bytes(head, "big"))
            writer.write(head + body)
            await writer.drain()
    except asyncio.IncompleteReadError as e:
        assert not e.partial
    writer.write(b"bye")
    writer.write_eof()
    await writer.drain()
    writer.close()
    done.release()


async def server(sock):
    done = asyncio.Semaphore(0)
    async with await asyncio.start_server(lambda r, w: serve(r, w, done), sock=sock):
        for _ in range(CONNECTIONS):
            await done.acquire()
    print("served")


async def read_after_cancelling(reader):
    """A read that is cancelled must not eat anything."""
    reading = asyncio.ensure_future(reader.readexactly(4))
    await asyncio.sleep(0)
    reading.cancel()
    try:
        return await reading
    except asyncio.CancelledError:
        return await reader.readexactly(4)


async def talk(number):
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    for i, size in enumerate(SIZES * 3):
        body = link.pattern(size, number + i)
        writer.write(size.to_bytes(4, "big"))
        writer.write(body)
        await writer.drain()
        head = await reader.readexactly(4) if i % 4 else await read_after_cancelling(reader)
        assert int.from_bytes(head, "big") == size
        assert await reader.readexactly(size) == body
    writer.write_eof()
    assert await reader.read() == b"bye"
    writer.close()
    await writer.wait_closed()


async def client():
    await asyncio.gather(*(talk(i) for i in range(CONNECTIONS)))
    print("talked")


sock = link.listener()
asyncio.run(server(sock) if link.role == "server" else client())
