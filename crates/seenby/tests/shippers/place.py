"""A data folder with a server on it, programs that run beside it, and the peers that `run` has put into a folder. What is true of every
test here; nothing about any one peer, and nothing about what a log holds.
"""

import contextlib
import datetime
import importlib
import importlib.util
import json
import os
import pathlib
import platform
import signal
import socket
import subprocess
import time

DEVICES = 500
PATIENCE_S = 60


class OutOfReach(Exception):
    """Why a peer cannot be asked on this machine; not that something is wrong with ours."""


def client(module):
    """A module of a package of Python's, or why it is not there."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise OutOfReach(f"pip could not install its client ({error})") from error


class Peers:
    """What `run` could get: Debian's packages unpacked into a folder each, or the reason why not."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def debian(self, name):
        """The root below which a peer's packages lie."""
        root = self.folder / "debian" / name
        missing = self.folder / "debian" / f"{name}.missing"
        if missing.exists():
            raise OutOfReach(missing.read_text(encoding="utf-8").strip())
        return root

    def script(self, name):
        """A program of a package of Python's, or why it is not there."""
        path = self.folder / "python" / "bin" / name
        if not path.exists():
            raise OutOfReach(f"pip could not install {name}")
        return str(path)

    def inside(self, package, path):
        """A program within a package of Python's. What such a package puts on the path starts it as a child, which outlives its parent."""
        found = importlib.util.find_spec(package)
        if found is None:
            raise OutOfReach(f"pip could not install {package}")
        program = pathlib.Path(found.origin).parent / path
        if not program.exists():
            raise OutOfReach(f"{package} has no program for {platform.machine()}")
        program.chmod(0o755)
        return str(program)

    def node(self, name):
        """What runs a program of a package of Node's."""
        script = self.folder / "node" / "node_modules" / ".bin" / name
        missing = self.folder / "node" / "missing"
        if missing.exists():
            raise OutOfReach(missing.read_text(encoding="utf-8").strip())
        return [(self.folder / "node" / "node").read_text(encoding="utf-8").strip(), str(script)]


class Place:
    """A data folder, and a server on it. `settings` is the text of the settings file."""

    def __init__(self, program, folder, settings=""):
        self.program = os.path.abspath(program)
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SEENBY_")}
        path = self.write("seenby.toml", settings)
        self.environment = dict(kept, HOME=str(folder), SEENBY_DATA=str(self.folder / "data"), SEENBY_SETTINGS=path)
        self.process = None
        self.run("init")

    def serve(self):
        self.process = subprocess.Popen(
            [self.program, "serve", "--listen", "127.0.0.1:0", "--operator-listen", "none"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=open(self.folder / "seenby.log", "ab"),
            text=True,
        )
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://127.0.0.1:"), self.log()
        self.port = self.url.rsplit(":", 1)[1]

    def run(self, *arguments):
        return json.loads(self.say(*arguments))

    def say(self, *arguments, said=os.devnull):
        """What a command prints; `said` is a file that it reads as its standard input."""
        with open(said, "rb") as file:
            done = subprocess.run(
                [self.program, *arguments, "--json"],
                env=self.environment, stdin=file, capture_output=True, text=True, check=False, timeout=120,
            )
        assert done.returncode in (0, 1), (arguments, done.stdout, done.stderr)
        return done.stdout

    def ask(self, addresses, until):
        """How many devices, first, last of each address, up to a moment in seconds."""
        told = self.say("stats", *addresses, "--as-of", written(until)).splitlines()
        answers = {answer["ipAddress"]: answer for answer in map(json.loads, told)}
        keys = ("organizationPrevalence", "orgFirstSeen", "orgLastSeen")
        return {address: tuple(answers[address][key] for key in keys) for address in addresses}

    def log(self):
        return (self.folder / "seenby.log").read_text(encoding="utf-8")

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def lines(self, name, address):
        """A log of as many devices, as JSON lines."""
        return self.write(name, "".join(record(number, address) + "\n" for number in range(DEVICES)))

    def sees(self, who, address, devices=DEVICES):
        """Waits until every device is in the answer; no more ever are."""
        until = time.monotonic() + PATIENCE_S
        while True:
            seen = self.run("stats", address)["organizationPrevalence"]
            assert seen <= devices, (who, seen)
            if seen == devices:
                print(f"ok  {who}: {seen} devices", flush=True)
                return
            assert time.monotonic() < until, f"{who}: {seen} of {devices} devices came\n{self.log()[-3000:]}"
            time.sleep(0.2)

    def kill(self):
        """As a machine that loses its power would, as far as a process can tell."""
        self.process.kill()
        self.process.wait(timeout=30)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=30) == 0, self.log()


@contextlib.contextmanager
def served(place):
    """The server of a place, until it was killed or a test is over, and the end of its log where that fails."""
    place.serve()
    try:
        yield place
    except BaseException:
        print("--- the end of the server's log", *place.log().splitlines()[-8:], "---", sep="\n", flush=True)
        raise
    finally:
        if place.process.poll() is None:
            place.stop()


@contextlib.contextmanager
def running(place, name, command, environment=None):
    """A program beside us, and what it said where something fails."""
    said = place.folder / f"{name}.said"
    with open(said, "ab") as out:
        process = subprocess.Popen(command, env=dict(place.environment, **environment or {}), stdout=out, stderr=subprocess.STDOUT)
        try:
            yield process
        except BaseException:
            print(f"--- {name} said", said.read_text(encoding="utf-8", errors="replace")[-3000:], "---", sep="\n", flush=True)
            raise
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=10)


def record(number, address):
    """One connection as a JSON line, of the device of that number, now."""
    return json.dumps({"time": written(time.time()), "device": f"pc-{number}", "ip": address})


def written(moment):
    """A second as the contract has it, of a time in seconds since 1970."""
    return datetime.datetime.fromtimestamp(int(moment), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def multiarch():
    """What Debian calls this processor's folder of libraries."""
    return f"{platform.machine()}-linux-gnu"


def libraries(root):
    """Where a program that was unpacked beside the system finds what it is linked with."""
    folders = (f"usr/lib/{multiarch()}", "usr/lib/syslog-ng", f"lib/{multiarch()}")
    return {"LD_LIBRARY_PATH": ":".join(f"{root}/{folder}" for folder in folders)}


def free_port(kind=socket.SOCK_STREAM):
    """A port of loopback that nobody has now."""
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def answers(port, process):
    """Waits until a program listens."""
    until = time.monotonic() + PATIENCE_S
    while not is_taken(port):
        assert process.poll() is None and time.monotonic() < until, f"nobody listens at port {port}"
        time.sleep(0.1)


def is_taken(port):
    """Whether somebody listens."""
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def hears(port):
    """Waits until somebody has a port of UDP, of which nothing tells but the kernel."""
    until = time.monotonic() + PATIENCE_S
    while f":{port:04X} " not in pathlib.Path("/proc/net/udp").read_text(encoding="ascii"):
        assert time.monotonic() < until, f"nobody listens at port {port}"
        time.sleep(0.1)
