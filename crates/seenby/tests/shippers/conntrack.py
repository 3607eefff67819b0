"""The kernel's own word on connections that are really opened: `conntrack -E` on a router between namespaces. What is answered is held
against what the devices did there. Nothing about how the networks are built.
"""

import contextlib
import subprocess
import time

import networks
from place import PATIENCE_S, Place, served, written


@contextlib.contextmanager
def events(built, file):
    """Writes down what the router's kernel tells, while devices call."""
    command = built.command(built.router, f"{built.root}/usr/sbin/conntrack", "-E", "-o", "timestamp,extended")
    with open(file, "ab") as out, open(f"{file}.errors", "wb") as errors:
        process = subprocess.Popen(command, stdout=out, stderr=errors, env=built.environment)
        try:
            time.sleep(0.5)  # It says nothing when it begins to listen.
            assert process.poll() is None, file.with_name(f"{file.name}.errors").read_text(encoding="utf-8")
            yield
            time.sleep(0.5)
        finally:
            process.terminate()
            process.wait(timeout=10)


def do_all(built):
    """Has all devices call, and the world call them; what the devices did."""
    with contextlib.ExitStack() as answering:
        for namespace in (built.world, *built.devices):
            answering.enter_context(built.answering(namespace))
        done = [(device, *call) for device in range(networks.DEVICES) for call in built.calls(device)]
        built.call_devices()
    return done


def is_true(place, who, done, patience_s=0):
    """Waits until as many devices are seen as called; first and last are in the second in which a call began or ended."""
    remotes = sorted({address for _, _, address, _, _ in done})
    until = time.monotonic() + patience_s
    while wrong := [told for told in place.ask(remotes, time.time() + 1).items() if not fits(told, done)]:
        assert time.monotonic() < until, f"{who}: answers and what was done differ: {wrong}"
        time.sleep(0.3)
    print(f"ok  {who}: {len(remotes)} answers on {len(done)} calls", flush=True)


def fits(told, done):
    address, (devices, first, last) = told
    calls = [call for call in done if call[2] == address and networks.CALLS[call[1]][1]]
    if devices != len({device for device, *_ in calls}):
        return False
    if not calls:
        return first is None and last is None
    earliest, latest = min(calls, key=lambda call: call[3]), max(calls, key=lambda call: call[3])
    return all(
        written(began) <= moment <= written(ended)
        for moment, (*_, began, ended) in ((first, earliest), (last, latest))
    )


def test_conntrack(program, folder, peers):
    """Followed as it is written, and read from a pipe afterwards."""
    root = peers.debian("conntrack")
    file = folder / "events.log"
    file.touch()
    source = f'[[sources]]\nname = "router"\nfile = "{file}"\nformat = "conntrack"\n'
    piped = Place(program, folder / "piped")
    with networks.built(root) as built, served(Place(program, folder / "followed", source)) as followed:
        with events(built, file):
            done = do_all(built)
        is_true(followed, "conntrack, followed", done, PATIENCE_S)
    piped.say("ingest", "--format", "conntrack", "-", said=file)
    is_true(piped, "conntrack, piped", done)


TESTS = (("conntrack", test_conntrack),)
