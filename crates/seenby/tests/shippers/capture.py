"""A capture of some networks, written byte by byte, and what is true of it: who opened a connection to which address, when. Knows frames
and packets; nothing about what a sensor makes of them.
"""

import dataclasses
import ipaddress
import struct
import time

from place import written

# What becomes of a conversation, and whether the device opened a connection with it.
OPENED = {
    "closed": True,
    "reset": True,
    "answered datagrams": True,
    "unanswered": False,
    "refused": False,
    "unanswered datagrams": False,
    "inbound": False,
}
DEVICES = 24
REMOTES = 7
# More than the time that any conversation takes, so that no two of them begin in one second.
APART_S = 7
SYN, ACK, FIN, RST, PSH = 0x02, 0x10, 0x01, 0x04, 0x08
TCP, UDP = 6, 17
REQUEST = b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
# Who sends, which flags, what, how long after the one before.
HANDSHAKE = [("device", SYN, b"", 0), ("remote", SYN | ACK, b"", 0.01), ("device", ACK, b"", 0.01)]
EXCHANGE = [("device", PSH | ACK, REQUEST, 0.01), ("remote", PSH | ACK, RESPONSE, 0.02)]
FAREWELL = [("device", FIN | ACK, b"", 0.5), ("remote", FIN | ACK, b"", 0.01), ("device", ACK, b"", 0.01)]
STEPS = {
    "closed": HANDSHAKE + EXCHANGE + FAREWELL,
    "reset": HANDSHAKE + EXCHANGE + [("remote", RST | ACK, b"", 0.3)],
    "unanswered": [("device", SYN, b"", 0), ("device", SYN, b"", 1), ("device", SYN, b"", 2)],
    "refused": [("device", SYN, b"", 0), ("remote", RST | ACK, b"", 0.01)],
    "answered datagrams": [("device", 0, b"x" * 32, 0), ("remote", 0, b"y" * 48, 0.02)],
    "unanswered datagrams": [("device", 0, b"x" * 32, 0), ("device", 0, b"x" * 32, 0.5)],
}
OTHER = {"device": "remote", "remote": "device"}
STEPS["inbound"] = [(OTHER[sender], *rest) for sender, *rest in STEPS["closed"]]


@dataclasses.dataclass(frozen=True)
class Conversation:
    kind: str
    device: str
    remote: str
    device_port: int
    remote_port: int
    # Seconds since 1970.
    at: float

    @property
    def protocol(self):
        return UDP if "datagrams" in self.kind else TCP


class Capture:
    """Conversations of as many devices, each with most of the remote ends, of one family or both."""

    def __init__(self, families=(4, 6)):
        began = int(time.time()) - 6 * 3600 + 0.25
        pairs = [
            (device, remote, family)
            for device in range(DEVICES) for remote in range(REMOTES) for family in families if (device * 2 + remote) % 5
        ]
        self.remotes = [remote_address(remote, family) for remote in range(REMOTES) for family in families]
        self.conversations = [
            conversation(device, remote, family, began + number * APART_S) for number, (device, remote, family) in enumerate(pairs)
        ]

    def write(self, path):
        """In the form of libpcap: microseconds, Ethernet."""
        packets = sorted(packet for conversation in self.conversations for packet in packets_of(conversation))
        with open(path, "wb") as file:
            file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
            for microseconds, frame in packets:
                file.write(struct.pack("<IIII", *divmod(microseconds, 1_000_000), len(frame), len(frame)))
                file.write(frame)

    def halves(self):
        """Two captures, one after the other."""
        middle = len(self.conversations) // 2
        return [Capture.of(self, self.conversations[:middle]), Capture.of(self, self.conversations[middle:])]

    @classmethod
    def of(cls, whole, conversations):
        part = cls.__new__(cls)
        part.remotes, part.conversations = whole.remotes, conversations
        return part

    def cuts(self):
        """Moments between conversations: a third of the way, two thirds, after all of them."""
        return [self.conversations[len(self.conversations) * third // 3 - 1].at + APART_S // 2 for third in (1, 2, 3)]

    def truth(self, remote, until, counts, early_s=0):
        """How many devices, first, last, up to a moment, by the kinds that count; times so many seconds earlier than they were."""
        calls = [call for call in self.conversations if call.remote == remote and call.kind in counts and call.at <= until]
        times = sorted(call.at - early_s for call in calls)
        ends = (written(times[0]), written(times[-1])) if times else (None, None)
        return (len({call.device for call in calls}), *ends)


def remote_address(number, family):
    return f"203.0.113.{10 + number}" if family == 4 else f"2001:db8:9::{10 + number:x}"


def conversation(device, remote, family, at):
    kind = list(STEPS)[(device * 3 + remote * 2 + family) % len(STEPS)]
    address = f"10.20.{device // 8}.{device % 8 + 1}" if family == 4 else f"fd00:20::{device + 1:x}"
    device_port, remote_port = 40_000 + device * REMOTES + remote, 80
    if "datagrams" in kind:
        remote_port = 3478
    if kind == "inbound":
        device_port, remote_port = 80, device_port
    return Conversation(kind, address, remote_address(remote, family), device_port, remote_port, at)


def packets_of(conversation):
    """Times in microseconds, and frames."""
    at = round(conversation.at * 1_000_000)
    sent = {"device": 1_000, "remote": 900_000}
    for sender, flags, payload, later in STEPS[conversation.kind]:
        at += round(later * 1_000_000)
        is_first = flags & ACK == 0
        acknowledged = 0 if is_first else sent[OTHER[sender]]
        yield at, frame(conversation, sender, (flags, sent[sender], acknowledged), payload)
        is_repeated = conversation.kind == "unanswered"
        sent[sender] += 0 if is_repeated else len(payload) + (1 if flags & (SYN | FIN) else 0)


def frame(conversation, sender, tcp, payload):
    ends = [(conversation.device, conversation.device_port), (conversation.remote, conversation.remote_port)]
    if sender == "remote":
        ends.reverse()
    (source, source_port), (destination, destination_port) = ends
    source, destination = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    ports = struct.pack("!HH", source_port, destination_port)
    if conversation.protocol == UDP:
        segment, at = ports + struct.pack("!HH", 8 + len(payload), 0) + payload, 6
    else:
        flags, sequence, acknowledged = tcp
        segment, at = ports + struct.pack("!IIBBHHH", sequence, acknowledged, 5 << 4, flags, 64_000, 0, 0) + payload, 16
    pseudo = source.packed + destination.packed + struct.pack("!II", len(segment), conversation.protocol)
    segment = segment[:at] + struct.pack("!H", checksum(pseudo + segment)) + segment[at + 2 :]
    return ethernet(source, destination, conversation.protocol, segment)


def ethernet(source, destination, protocol, segment):
    macs = bytes.fromhex("020000000001020000000002")
    if source.version == 6:
        header = struct.pack("!IHBB", 6 << 28, len(segment), protocol, 64) + source.packed + destination.packed
        return macs + b"\x86\xdd" + header + segment
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0x4000, 64, protocol, 0) + source.packed + destination.packed
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    return macs + b"\x08\x00" + header + segment


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
