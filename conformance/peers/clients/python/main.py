"""The package kubernetes' stream.portforward as a peer: client-python KUBECONFIG POD PORT BYTES"""

import hashlib
import http.client
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from kubernetes import client, config, stream  # noqa: E402

REFUSED, ECHO, HTTP = 7999, 7000, 8080
STEP = 15


def fail(why):
    print(f"client-python: {why}", file=sys.stderr, flush=True)
    os._exit(1)


def check(good, why):
    if not good:
        raise RuntimeError(why)


def forward(ports):
    return stream.portforward(
        client.CoreV1Api().connect_get_namespaced_pod_portforward,
        POD,
        NAMESPACE,
        ports=",".join(map(str, ports)),
    )


def echo(opened, port, count):
    """Sends and compares; the digest of what came."""
    sock = opened.socket(port)
    sock.settimeout(STEP)
    sent = bytes(i % 251 for i in range(count))
    sender = threading.Thread(target=sock.sendall, args=(sent,), daemon=True)
    sender.start()
    got = bytearray()
    while len(got) < count:
        piece = sock.recv(65536)
        check(piece, f"ended after {len(got)} bytes: {opened.error(port)}")
        got += piece
    sender.join(STEP)
    check(got == sent, "other bytes came back")
    sock.settimeout(0.3)
    try:
        check(False, f"more than was sent, or the end: {sock.recv(1)!r}")
    except TimeoutError:
        pass
    check(opened.error(port) is None, f"error stream: {opened.error(port)}")
    return hashlib.sha256(got).hexdigest()


def end(opened):
    """Closing the sockets is what makes the library close."""
    opened.close()
    until = time.monotonic() + STEP
    while opened.connected:
        check(time.monotonic() < until, "the WebSocket stays open")
        time.sleep(0.01)


def refused():
    opened = forward([REFUSED])
    sock = opened.socket(REFUSED)
    sock.settimeout(STEP)
    check(sock.recv(1) == b"", "bytes from a refused port")
    end(opened)
    return " ".join((opened.error(REFUSED) or "(nothing shown)").split())


def two():
    opened = forward([ECHO, HTTP])
    page = opened.socket(HTTP)
    page.settimeout(STEP)
    page.sendall(b"GET / HTTP/1.1\r\nHost: pod\r\n\r\n")
    echo(opened, ECHO, 65536)
    # All of it: bytes left unread in a socket make its close a reset, and that the library's end.
    answer = http.client.HTTPResponse(page)
    answer.begin()
    check(answer.status == 200 and answer.read(), f"HTTP: {answer.status}")
    end(opened)


def main():
    opened = forward([PORT])
    print("ok echo", echo(opened, PORT, BYTES), flush=True)
    end(opened)
    print("ok refused", refused(), flush=True)
    two()
    print("ok two", flush=True)


if len(sys.argv) != 5:
    fail("usage: client-python KUBECONFIG POD PORT BYTES")
KUBECONFIG, POD = sys.argv[1:3]
PORT, BYTES = int(sys.argv[3]), int(sys.argv[4])
watchdog = threading.Timer(55, fail, ["took too long"])
watchdog.daemon = True
watchdog.start()
# The library's thread ends with an exception where it gives up; the reason is in that.
threading.excepthook = lambda raised: fail(f"in {raised.thread.name}: {raised.exc_value!r}")
try:
    config.load_kube_config(KUBECONFIG)
    context = config.list_kube_config_contexts(KUBECONFIG)[1]["context"]
    NAMESPACE = context.get("namespace", "default")
    main()
except Exception as why:  # noqa: BLE001
    fail(repr(why))
