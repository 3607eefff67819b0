"""Networks of this machine's own kernel: devices, a router and the world in namespaces, and the connections that are really opened between
them. Also the program that runs inside of a namespace. Nothing about what watches the router, and nothing reaches out of a namespace.
"""

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import time

from place import PATIENCE_S, OutOfReach, libraries

DEVICES = 6
REMOTES = 5
# Ports of the world. What comes to the third is dropped on its way, so nothing answers, be it with a refusal.
WEB, ECHO, DROPPED, SILENT, CLOSED = 80, 3478, 81, 3479, 82
# What a device does, where to, and whether it opened a connection with it.
CALLS = {
    "exchange": (WEB, True),
    "datagrams": (ECHO, True),
    "refused": (CLOSED, False),
    "unanswered": (DROPPED, False),
    "unanswered datagrams": (SILENT, False),
}


def device_address(device, family):
    return f"10.30.{device + 1}.2" if family == 4 else f"fd00:30:{device + 1}::2"


def remote_address(remote, family):
    return f"203.0.113.{10 + remote}" if family == 4 else f"2001:db8:9::{10 + remote:x}"


def calls_of(device):
    """What a device does, in its order: a kind, and the address of a remote end."""
    kinds = list(CALLS)
    pairs = [(remote, family) for remote in range(REMOTES) for family in (4, 6) if (device + remote) % 4]
    return [(kinds[(device * 2 + remote + family) % len(kinds)], remote_address(remote, family)) for remote, family in pairs]


class Networks:
    """A router between devices, each in a network of its own, and the world. All of it is gone in the end."""

    def __init__(self, root):
        self.root = root
        self.environment = dict(os.environ, **libraries(root))
        self.prefix = f"seenby-{os.getpid()}"
        self.router, self.world = f"{self.prefix}-router", f"{self.prefix}-world"
        self.devices = [f"{self.prefix}-pc{device}" for device in range(DEVICES)]

    def ip(self, *arguments):
        """What a kernel or a container may not let us do."""
        self.permitted([f"{self.root}/bin/ip", *arguments])

    def permitted(self, command, said=None):
        done = subprocess.run(
            command, env=self.environment, input=said, capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )
        if done.returncode:
            raise OutOfReach(f"this kernel does not let us: {' '.join(command)}: {done.stderr.strip()}")

    def command(self, namespace, *command):
        """What runs a command in a namespace."""
        return [f"{self.root}/bin/ip", "netns", "exec", namespace, *command]

    def link(self, namespace, network, addresses):
        """A cable from the router, which is .1 and ::1 of the network, to a namespace."""
        inside = f"v{network}"
        self.ip("link", "add", inside, "netns", self.router, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        for address in [f"{prefix}1/{length}" for prefix, length in addresses]:
            self.ip("-n", self.router, "address", "add", address, "dev", inside, "nodad")
        self.ip("-n", self.router, "link", "set", inside, "up")
        self.ip("-n", namespace, "link", "set", "lo", "up")
        self.ip("-n", namespace, "link", "set", "eth0", "up")

    def build(self):
        for namespace in (self.router, self.world, *self.devices):
            self.ip("netns", "add", namespace)
        self.link(self.world, "world", [("203.0.113.", 24), ("2001:db8:9::", 64)])
        for remote in range(REMOTES):
            for family, length in ((4, 24), (6, 64)):
                self.ip("-n", self.world, "address", "add", f"{remote_address(remote, family)}/{length}", "dev", "eth0", "nodad")
        self.route(self.world, "203.0.113.1", "2001:db8:9::1")
        for device, namespace in enumerate(self.devices):
            self.link(namespace, str(device), [(f"10.30.{device + 1}.", 24), (f"fd00:30:{device + 1}::", 64)])
            for family, length in ((4, 24), (6, 64)):
                self.ip("-n", namespace, "address", "add", f"{device_address(device, family)}/{length}", "dev", "eth0", "nodad")
            self.route(namespace, f"10.30.{device + 1}.1", f"fd00:30:{device + 1}::1")
        forward = "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"
        self.permitted(self.command(self.router, "sh", "-c", forward))
        # A rule that asks for the state makes the kernel keep one. What the world answers to is the router (IPv4).
        self.filter(self.router, "chain nat {\ntype nat hook postrouting priority 100\nmeta nfproto ipv4 oifname vworld masquerade\n}")
        self.filter(self.router, "chain forward {\ntype filter hook forward priority 0\nct state new accept\n}")
        self.filter(self.world, f"chain input {{\ntype filter hook input priority 0\ntcp dport {DROPPED} drop\n}}")

    def route(self, namespace, *gateways):
        for gateway in gateways:
            self.ip("-n", namespace, "route", "add", "default", "via", gateway)

    def filter(self, namespace, chain):
        self.permitted(self.command(namespace, f"{self.root}/usr/sbin/nft", "-f", "-"), f"table inet seenby {{\n{chain}\n}}\n")

    def take_down(self):
        for namespace in (self.router, self.world, *self.devices):
            with contextlib.suppress(OutOfReach):
                self.ip("netns", "delete", namespace)

    def calls(self, device):
        """Has a device do all that it does; tells of each its kind, its remote end, when it began and ended."""
        return [json.loads(line) for line in self.python(self.devices[device], "device", str(device)).splitlines()]

    def python(self, namespace, *arguments):
        """This file as a program in a namespace."""
        command = self.command(namespace, sys.executable, os.path.abspath(__file__), *arguments)
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def call_devices(self):
        """Has the world open a connection to each device, which is none that a device opened."""
        for device in range(DEVICES):
            self.python(self.world, "call", device_address(device, 4))

    @contextlib.contextmanager
    def answering(self, namespace):
        """What answers in a namespace; it has begun when it has said something."""
        command = self.command(namespace, sys.executable, os.path.abspath(__file__), "answer")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self.environment)
        try:
            assert process.stdout.readline() == "ready\n", namespace
            yield
        finally:
            process.kill()
            process.wait(timeout=10)


@contextlib.contextmanager
def built(root):
    networks = Networks(root)
    try:
        networks.build()
        yield networks
    finally:
        networks.take_down()


def opened(sockets, kind, port):
    one = socket.socket(socket.AF_INET6, kind)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(("::", port))
    sockets.register(one, selectors.EVENT_READ, port)
    return one


def answer():
    """The world, and a device that is called: an exchange by TCP, an echo by UDP, silence elsewhere."""
    sockets = selectors.DefaultSelector()
    opened(sockets, socket.SOCK_STREAM, WEB).listen(64)
    opened(sockets, socket.SOCK_DGRAM, SILENT)
    # An echo has to come from the address that was asked, so a socket of each.
    for family in (4, 6):
        for remote in range(REMOTES):
            with contextlib.suppress(OSError):
                echo = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
                echo.bind((remote_address(remote, family), ECHO))
                sockets.register(echo, selectors.EVENT_READ, ECHO)
    print("ready", flush=True)
    while True:
        for key, _ in sockets.select():
            answer_one(key)


def answer_one(key):
    if key.data == WEB:
        caller, _ = key.fileobj.accept()
        with caller:
            caller.settimeout(5)
            caller.sendall(b"pong " + caller.recv(100))
        return
    payload, caller = key.fileobj.recvfrom(100)
    if key.data == ECHO:
        key.fileobj.sendto(payload, caller)


def call(kind, address):
    """One of the things that a device does; whether an answer came."""
    port, _ = CALLS[kind]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    stream = "datagrams" not in kind
    with socket.socket(family, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as one:
        one.settimeout(5 if CALLS[kind][1] or kind == "refused" else 0.3)
        try:
            one.connect((address, port))
            one.sendall(b"ping")
            return one.recv(100) != b""
        except (TimeoutError, ConnectionRefusedError):
            return False


def call_all(device):
    """Says when each call began and ended."""
    for kind, address in calls_of(device):
        began = time.time()
        is_answered = call(kind, address)
        assert is_answered == CALLS[kind][1], (kind, address)
        print(json.dumps([kind, address, began, time.time()]))


if __name__ == "__main__":
    if sys.argv[1] == "answer":
        answer()
    elif sys.argv[1] == "device":
        call_all(int(sys.argv[2]))
    else:
        assert call("exchange", sys.argv[2]), sys.argv
