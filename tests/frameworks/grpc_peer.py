"""Server and client of the grpcio comparison, without protobuf: messages are plain bytes.

    grpc_peer.py server PORT sync|asyncio [ADDRESS]
    grpc_peer.py client PORT sync|asyncio [ADDRESS [MOST]]

Messages are at most MOST bytes long.
"""
import asyncio
import concurrent.futures
import signal
import sys
import threading

import grpc

import pair

SIZES = (0, 1, 64, 1000, 4096, 65536, 250000, 1 << 20, 4 << 20, 16 << 20, 64 << 20)
STREAM = (64, 5000, 70000, 1 << 20, 17, 3 << 20)
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def flip(data):
    return data[::-1]


class Handlers(grpc.GenericRpcHandler):
    def service(self, details):
        kind = details.method.rsplit("/", 1)[1]
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(getattr(self, kind))


class Sync(Handlers):
    def unary_unary(self, request, context):
        return flip(request)

    def unary_stream(self, request, context):
        for size in STREAM:
            yield pair.pattern(size, len(request))

    def stream_unary(self, requests, context):
        return pair.digest(b"".join(requests)).encode()

    def stream_stream(self, requests, context):
        for request in requests:
            yield flip(request)


class Async(Handlers):
    async def unary_unary(self, request, context):
        return flip(request)

    async def unary_stream(self, request, context):
        for size in STREAM:
            yield pair.pattern(size, len(request))

    async def stream_unary(self, requests, context):
        return pair.digest(b"".join([request async for request in requests])).encode()

    async def stream_stream(self, requests, context):
        async for request in requests:
            yield flip(request)


def serve_sync(at):
    done = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8), options=OPTIONS)
    server.add_generic_rpc_handlers((Sync(),))
    server.add_insecure_port(at)
    server.start()
    done.wait()
    server.stop(5).wait()


async def serve_async(at):
    done = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((Async(),))
    server.add_insecure_port(at)
    await server.start()
    await done.wait()
    await server.stop(5)


def messages(seed):
    return [pair.pattern(size, seed + i) for i, size in enumerate(STREAM)]


def result(name, data):
    print(f"result {name} {len(data)}-{pair.digest(data)}", flush=True)


def client_sync(at, sizes):
    with grpc.insecure_channel(at, options=OPTIONS) as channel:
        unary = channel.unary_unary("/t/unary_unary")
        for size in sizes:
            for turn in range(3):
                sent = pair.pattern(size, size + turn)
                got = unary(sent, timeout=100)
                assert got == flip(sent), f"unary {size} came back wrong"
                result(f"unary/{size}/{turn}", got)
        calls = [unary.future(pair.pattern(300000, i), timeout=100) for i in range(32)]
        result("parallel", b"".join(call.result() for call in calls))
        result("server-stream", b"".join(channel.unary_stream("/t/unary_stream")(b"abc", timeout=100)))
        got = channel.stream_unary("/t/stream_unary")(iter(messages(3)), timeout=100)
        assert got.decode() == pair.digest(b"".join(messages(3)))
        result("client-stream", got)
        got = list(channel.stream_stream("/t/stream_stream")(iter(messages(9)), timeout=100))
        assert got == [flip(m) for m in messages(9)]
        result("both-stream", b"".join(got))


async def client_async(at, sizes):
    async with grpc.aio.insecure_channel(at, options=OPTIONS) as channel:
        unary = channel.unary_unary("/t/unary_unary")
        for size in sizes:
            for turn in range(3):
                sent = pair.pattern(size, size + turn)
                got = await unary(sent, timeout=100)
                assert got == flip(sent), f"unary {size} came back wrong"
                result(f"unary/{size}/{turn}", got)
        calls = [unary(pair.pattern(300000, i), timeout=100) for i in range(32)]
        result("parallel", b"".join(await asyncio.gather(*calls)))
        got = [m async for m in channel.unary_stream("/t/unary_stream")(b"abc", timeout=100)]
        result("server-stream", b"".join(got))
        got = await channel.stream_unary("/t/stream_unary")(iter(messages(3)), timeout=100)
        assert got.decode() == pair.digest(b"".join(messages(3)))
        result("client-stream", got)
        call = channel.stream_stream("/t/stream_stream")(iter(messages(9)), timeout=100)
        got = [m async for m in call]
        assert got == [flip(m) for m in messages(9)]
        result("both-stream", b"".join(got))


def main():
    role, port, style = sys.argv[1:4]
    at = f"{(sys.argv[4:] or ['127.0.0.1'])[0]}:{port}"
    most = int((sys.argv[5:] or SIZES[-1:])[0])
    sizes = [size for size in SIZES if size <= most]
    if style == "asyncio":
        asyncio.run(serve_async(at) if role == "server" else client_async(at, sizes))
    elif role == "server":
        serve_sync(at)
    else:
        client_sync(at, sizes)


if __name__ == "__main__":
    main()
