"""Sensors, as their packages come, read a capture that we wrote: Suricata writes EVE, softflowd sends NetFlow 5, NetFlow 9 and IPFIX.
What seenby answers about that is held against what is true of the capture. Nothing about packets, and none of the sensors' own tests.
"""

import contextlib
import socket
import subprocess
import time

from capture import OPENED, Capture
from place import PATIENCE_S, Place, free_port, hears, libraries, served

# What a flow of Suricata is for seenby: it was answered, and not turned away.
SURICATA_COUNTS = {kind for kind, opened in OPENED.items() if opened}
# A flow does not say who opened it, nor whether anything came back.
FLOWS_COUNT = set(OPENED)


def differences(place, capture, counts, early_s):
    """Where the answers are not the truth, up to each of the moments; times may be so many seconds early."""
    wrong = []
    for until in capture.cuts():
        answers = place.ask(capture.remotes, until)
        for remote in capture.remotes:
            truths = [capture.truth(remote, until, counts, early) for early in range(early_s + 1)]
            # Each of the three by itself: a second may end in the middle of what is sent.
            if not all(told in allowed for told, allowed in zip(answers[remote], zip(*truths))):
                wrong.append((remote, answers[remote], truths))
    return wrong


def is_true(place, who, capture, counts, early_s=0, patience_s=0):
    """Waits until all answers are the truth."""
    until = time.monotonic() + patience_s
    while wrong := differences(place, capture, counts, early_s):
        assert time.monotonic() < until, f"{who}: answers and truth differ: {wrong[:5]} ({len(wrong)} in all)"
        time.sleep(0.3)
    asked = len(capture.remotes) * len(capture.cuts())
    print(f"ok  {who}: {asked} answers on {len(capture.conversations)} conversations", flush=True)


def suricata(root, capture, folder, into):
    """Reads a capture and adds to `eve.json` of a folder. Its rules, which it comes without, are none."""
    capture.write(folder / "capture.pcap")
    into.mkdir(exist_ok=True)
    settings = f"{root}/etc/suricata"
    # Where the system has no libmagic, it was unpacked too.
    magic = root / "usr/lib/file/magic.mgc"
    environment = dict(libraries(root), **{"MAGIC": str(magic)} if magic.exists() else {})
    done = subprocess.run(
        [
            f"{root}/usr/bin/suricata", "-c", f"{settings}/suricata.yaml", "-S", "/dev/null", "-r", folder / "capture.pcap", "-l", into,
            "--set", f"classification-file={settings}/classification.config",
            "--set", f"reference-config-file={settings}/reference.config", "--set", f"threshold-file={settings}/threshold.config",
        ],
        env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_eve_once(program, folder, peers):
    root = peers.debian("suricata")
    place, capture = Place(program, folder / "place"), Capture()
    suricata(root, capture, folder, folder / "log")
    counts = place.run("ingest", "--strict", str(folder / "log" / "eve.json"))
    assert sum(counts["refused"].values()) == 0, counts
    kinds = [call.kind in SURICATA_COUNTS for call in capture.conversations]
    assert counts["sighted"] == sum(kinds), (counts, sum(kinds))
    is_true(place, "suricata, eve.json", capture, SURICATA_COUNTS)


def test_eve_followed(program, folder, peers):
    """The server is killed in the middle, and the log rotated while it is away."""
    root = peers.debian("suricata")
    logs = folder / "log"
    logs.mkdir()
    place = Place(program, folder / "place", f'[[sources]]\nname = "sensor"\nfolder = "{logs}"\ninclude = ["eve.json*"]\n')
    capture = Capture()
    first, second = capture.halves()
    with served(place):
        suricata(root, first, folder, logs)
        is_true(place, "suricata, followed", first, SURICATA_COUNTS, patience_s=PATIENCE_S)
        place.kill()
    (logs / "eve.json").rename(logs / "eve.json.1")
    suricata(root, second, folder, logs)
    with served(place):
        is_true(place, "suricata, followed after a kill and a rotation", capture, SURICATA_COUNTS, patience_s=PATIENCE_S)


# What softflowd calls a version, what it is told beside it, and of which families the capture is. In its IPFIX the times of a capture are
# counted from a boot that it makes up, a year ahead, unless it is told to adjust them (-a) or to send absolute ones (-A). Where it puts both
# directions into one record (-b), the lower address comes first, whoever opened; here that is the device only with IPv4.
EXPORTS = {
    "NetFlow 5": ("5", [], (4,)),
    "NetFlow 9": ("9", [], (4, 6)),
    "IPFIX since the boot": ("10", ["-a"], (4, 6)),
    "IPFIX in seconds": ("10", ["-A", "sec"], (4, 6)),
    "IPFIX in milliseconds": ("10", ["-A", "milli"], (4, 6)),
    "IPFIX in microseconds": ("10", ["-A", "micro"], (4, 6)),
    "IPFIX in nanoseconds": ("10", ["-A", "nano"], (4, 6)),
    "IPFIX, two directions in one": ("10", ["-b", "-A", "milli"], (4,)),
}
# NetFlow 9 tells the time of its datagrams in whole seconds, from which that of its flows is counted back.
EARLY_S = {"9": 1}


def softflowd(root, capture, folder, port, version, options):
    """Reads a capture and sends what it makes of it. With a socket for its control it waits for ever where it reads a file (1.1.0)."""
    capture.write(folder / "capture.pcap")
    done = subprocess.run(
        [
            f"{root}/usr/sbin/softflowd", "-r", folder / "capture.pcap", "-n", f"127.0.0.1:{port}", "-v", version, *options,
            "-d", "-p", folder / "softflowd.pid", "-c", "none",
        ],
        env=libraries(root), capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def datagrams(send):
    """What came to a port of loopback while something was sent there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        collector.bind(("127.0.0.1", 0))
        send(collector.getsockname()[1])
        collector.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                yield collector.recv(65_535)


def test_flows_of_a_file(program, folder, peers):
    root = peers.debian("softflowd")
    for number, (what, (version, options, families)) in enumerate(EXPORTS.items()):
        place, capture = Place(program, folder / str(number)), Capture(families)
        file = place.folder / "flows"
        file.write_bytes(b"".join(datagrams(lambda port: softflowd(root, capture, place.folder, port, version, options))))
        counts = place.run("ingest", "--strict", "--format", "netflow", str(file))
        assert counts["sighted"] == len(capture.conversations), (what, counts)
        is_true(place, f"softflowd, {what}", capture, FLOWS_COUNT, EARLY_S.get(version, 0))


def test_flows_listened_for(program, folder, peers):
    root = peers.debian("softflowd")
    for number, (what, (version, options, families)) in enumerate(EXPORTS.items()):
        port, capture = free_port(socket.SOCK_DGRAM), Capture(families)
        source = f'[[sources]]\nname = "flows"\nnetflow = "udp://127.0.0.1:{port}"\n'
        with served(Place(program, folder / str(number), source)) as place:
            hears(port)
            softflowd(root, capture, place.folder, port, version, options)
            is_true(place, f"softflowd by UDP, {what}", capture, FLOWS_COUNT, EARLY_S.get(version, 0), PATIENCE_S)


TESTS = (
    ("suricata", test_eve_once),
    ("suricata, followed", test_eve_followed),
    ("softflowd, to a file", test_flows_of_a_file),
    ("softflowd, by UDP", test_flows_listened_for),
)
