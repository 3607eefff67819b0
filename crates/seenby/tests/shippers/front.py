"""What stands in front of a peer, as a load balancer would, and can be killed where the peer keeps its data in memory alone: bytes go
through as they come. With a certificate it speaks TLS with whoever calls. In front of a broker of Kafka's protocol it gives itself out as
that broker, and with a user it asks for SASL PLAIN before anything else. Nothing else of any protocol.

    front.py PORT PEERS_PORT [--kafka] [--certificate FILE --key FILE] [--user NAME --password PASSWORD]
"""

import argparse
import contextlib
import socket
import ssl
import struct
import threading

HOST = b"127.0.0.1"
# Of Kafka's requests, those before which nobody is known.
SASL_HANDSHAKE, API_VERSIONS, SASL_AUTHENTICATE = 17, 18, 36
UNSUPPORTED_VERSION, UNSUPPORTED_MECHANISM, AUTHENTICATION_FAILED = 35, 33, 58


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("peer", type=int)
    parser.add_argument("--kafka", action="store_true")
    for word in ("--certificate", "--key", "--user", "--password"):
        parser.add_argument(word)
    asked = parser.parse_args()
    tls = None
    if asked.certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(asked.certificate, asked.key)
    listener = socket.create_server(("127.0.0.1", asked.port))
    while True:
        caller, _ = listener.accept()
        threading.Thread(target=carry, args=(caller, asked, tls), daemon=True).start()


def carry(caller, asked, tls):
    """A connection, to its end."""
    with contextlib.suppress(OSError, EOFError), contextlib.ExitStack() as open_until_then:
        open_until_then.enter_context(caller)
        if tls:
            caller = open_until_then.enter_context(tls.wrap_socket(caller, server_side=True))
        if asked.user and not is_known(caller, asked):
            return
        peer = open_until_then.enter_context(socket.create_connection(("127.0.0.1", asked.peer)))
        back = threading.Thread(target=pass_frames if asked.kafka else pass_bytes, args=(peer, caller, asked), daemon=True)
        back.start()
        pass_bytes(caller, peer, asked)
        back.join()


def pass_bytes(source, sink, _asked):
    with contextlib.suppress(OSError):
        while came := source.recv(1 << 16):
            sink.sendall(came)
    end(source, sink)


def pass_frames(source, sink, asked):
    """The broker's answers, with our port where they name its own."""
    named, ours = (HOST + struct.pack(">i", port) for port in (asked.peer, asked.port))
    with contextlib.suppress(OSError, EOFError):
        while True:
            sink.sendall(framed(frame(source).replace(named, ours)))
    end(source, sink)


def end(*sockets):
    """No side waits for one that is gone."""
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def frame(source):
    (length,) = struct.unpack(">i", exactly(source, 4))
    return exactly(source, length)


def framed(answer):
    return struct.pack(">i", len(answer)) + answer


def exactly(source, length):
    came = b""
    while len(came) < length:
        more = source.recv(length - len(came))
        if not more:
            raise EOFError
        came += more
    return came


def is_known(caller, asked):
    """Answers until somebody has said who calls, or does not know it."""
    while True:
        request = frame(caller)
        key, version, number = struct.unpack(">hhi", request[:8])
        if key == API_VERSIONS:
            answer = api_versions(request, version, asked)
        elif key == SASL_HANDSHAKE:
            is_plain = body(request).endswith(b"PLAIN")
            answer = struct.pack(">hih", 0 if is_plain else UNSUPPORTED_MECHANISM, 1, 5) + b"PLAIN"
        elif key == SASL_AUTHENTICATE:
            is_right = body(request)[4:] == f"\0{asked.user}\0{asked.password}".encode()
            answer = struct.pack(">hhi", 0 if is_right else AUTHENTICATION_FAILED, -1, 0)
            caller.sendall(framed(struct.pack(">i", number) + answer))
            return is_right
        else:
            return False
        caller.sendall(framed(struct.pack(">i", number) + answer))


def body(request):
    """What comes behind the header: key, version, number, and the name of the client."""
    (length,) = struct.unpack(">h", request[8:10])
    return request[10 + max(length, 0) :]


def api_versions(request, version, asked):
    """What the broker can do, in the oldest form, and what we can do for it."""
    if version > 0:
        return struct.pack(">hi", UNSUPPORTED_VERSION, 0)
    with socket.create_connection(("127.0.0.1", asked.peer)) as peer:
        peer.sendall(framed(request))
        answer = frame(peer)
    error, count = struct.unpack(">hi", answer[4:10])
    known = [struct.unpack(">hhh", answer[10 + 6 * at : 16 + 6 * at]) for at in range(count)]
    known = [one for one in known if one[0] not in (SASL_HANDSHAKE, SASL_AUTHENTICATE)]
    known += [(SASL_HANDSHAKE, 0, 1), (SASL_AUTHENTICATE, 0, 0)]
    return struct.pack(">hi", error, len(known)) + b"".join(struct.pack(">hhh", *one) for one in known)


if __name__ == "__main__":
    main()
