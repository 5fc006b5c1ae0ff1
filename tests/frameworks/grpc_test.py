"""grpcio, unary and streaming: grpc_test.py sync|asyncio."""
import sys

import pair


def exchange(style, server, client):
    port = pair.free_port()
    peer = [sys.executable, pair.HERE / "grpc_peer.py"]
    with pair.serve([*peer, "server", port, style], server, port):
        output = pair.run([*peer, "client", port, style], client, timeout=200).decode()
    return dict(line.split(" ")[1:] for line in output.splitlines() if line.startswith("result "))


def main():
    try:
        import grpc  # noqa: F401
    except ImportError as error:
        pair.skip(f"{error}: run tools/check")
    pair.compare(lambda server, client: exchange(sys.argv[1], server, client))


if __name__ == "__main__":
    main()
