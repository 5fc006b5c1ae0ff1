"""Unary echo calls of grpcio: grpc_bench.py server PORT | client PORT SIZE SECONDS. The client prints JSON."""
import concurrent.futures
import json
import signal
import statistics
import sys
import threading
import time

import grpc

OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: request)


def serve(port):
    done = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2), options=OPTIONS)
    server.add_generic_rpc_handlers((Echo(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    done.wait()
    server.stop(5).wait()


def call(port, size, seconds):
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
        echo, data, times = channel.unary_unary("/t/echo"), bytes(range(256)) * (size // 256) or b"x" * size, []
        for _ in range(10):
            assert echo(data) == data
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(times) < 5:
            start = time.perf_counter()
            answer = echo(data)
            times.append(time.perf_counter() - start)
            assert len(answer) == len(data)
    print(json.dumps({"call_ms": 1e3 * statistics.median(times)}))


if __name__ == "__main__":
    if sys.argv[1] == "server":
        serve(int(sys.argv[2]))
    else:
        call(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
