"""Sensors, as their packages come, read a capture that we wrote: Suricata writes EVE, softflowd sends NetFlow 5, NetFlow 9 and IPFIX.
What seenby answers about that is held against what is true of the capture. Nothing about packets, and none of the sensors' own tests.
"""

import socket
import subprocess
import threading
import time

from capture import OPENED, Capture
from place import PATIENCE_S, OutOfReach, Place, free_port, libraries, running, served

# What a flow of Suricata is for seenby: it was answered, be it by a refusal.
SURICATA_COUNTS = {kind for kind, opened in OPENED.items() if opened} | {"refused"}
# A flow does not say who opened it, nor whether anything came back.
FLOWS_COUNT = set(OPENED)


def differences(place, capture, counts):
    """Where the answers are not the truth, up to each of the moments."""
    wrong = []
    for until in capture.cuts():
        answers = place.ask(capture.remotes, until)
        truths = {remote: capture.truth(remote, until, counts) for remote in capture.remotes}
        wrong += [(remote, answers[remote], truths[remote]) for remote in capture.remotes if answers[remote] != truths[remote]]
    return wrong


def is_true(place, who, capture, counts, patience_s=0):
    """Waits until all answers are the truth; that they become so and stay so is asked twice."""
    until = time.monotonic() + patience_s
    while wrong := differences(place, capture, counts):
        assert time.monotonic() < until, f"{who}: answers and truth differ: {wrong[:5]} ({len(wrong)} in all)"
        time.sleep(0.3)
    asked = len(capture.remotes) * len(capture.cuts())
    print(f"ok  {who}: {asked} answers on {len(capture.conversations)} conversations", flush=True)


def suricata(root, capture, folder, into):
    """Reads a capture and adds to `eve.json` of a folder. Its rules, which it comes without, are none."""
    capture.write(folder / "capture.pcap")
    into.mkdir(exist_ok=True)
    settings = f"{root}/etc/suricata"
    done = subprocess.run(
        [
            f"{root}/usr/bin/suricata", "-c", f"{settings}/suricata.yaml", "-S", "/dev/null", "-r", folder / "capture.pcap", "-l", into,
            "--set", f"classification-file={settings}/classification.config",
            "--set", f"reference-config-file={settings}/reference.config", "--set", f"threshold-file={settings}/threshold.config",
        ],
        env=libraries(root), capture_output=True, text=True, check=False, timeout=PATIENCE_S,
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
        is_true(place, "suricata, followed", first, SURICATA_COUNTS, PATIENCE_S)
        place.kill()
    (logs / "eve.json").rename(logs / "eve.json.1")
    suricata(root, second, folder, logs)
    with served(place):
        is_true(place, "suricata, followed after a kill and a rotation", capture, SURICATA_COUNTS, PATIENCE_S)


class Collector:
    """Keeps the datagrams that come to a port of loopback, until it is quiet."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def datagrams(self):
        """All that came; softflowd has ended, so nothing more is on its way."""
        self.socket.setblocking(False)
        taken = []
        try:
            while True:
                taken.append(self.socket.recv(65_535))
        except BlockingIOError:
            self.socket.close()
        return taken


def softflowd(root, capture, folder, version, port):
    capture.write(folder / "capture.pcap")
    done = subprocess.run(
        [
            f"{root}/usr/sbin/softflowd", "-r", folder / "capture.pcap", "-n", f"127.0.0.1:{port}", "-v", version, "-d",
            "-p", folder / "softflowd.pid", "-c", folder / "softflowd.ctl",
        ],
        env=libraries(root), capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr


TESTS = (("suricata", test_eve_once), ("suricata, followed", test_eve_followed))
