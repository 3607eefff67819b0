"""Every real peer in turn, each with a data folder of its own: what pushes, what is captured, what is asked. Where a peer is out of reach
it says so and goes on; with SEENBY_NO_SKIPS=1 that is a failure in the end. Nothing here leaves this machine, and nothing here knows how a peer is run.
"""

import os
import pathlib
import sys
import tempfile
import time

import brokers
import buckets
import conntrack
import killed
import pushers
import secured
import sensors
from place import OutOfReach, Peers

TESTS = (*pushers.TESTS, *sensors.TESTS, *conntrack.TESTS, *brokers.TESTS, *buckets.TESTS, *killed.TESTS, *secured.TESTS)


def main(program, peers, *only):
    """`only`: words of which one is in the name of each test that is wanted."""
    wanted = [(what, test) for what, test in TESTS if not only or any(word in what for word in only)]
    assert wanted, [what for what, _ in TESTS]
    skipped = 0
    for what, test in wanted:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                test(program, pathlib.Path(folder), Peers(peers))
                print(f"    {what}: {time.monotonic() - began:.0f} s", flush=True)
            except OutOfReach as why:
                print(f"SKIPPED: {what} was not tested; {why}", flush=True)
                skipped += 1
    print(f"shippers: {len(wanted) - skipped} tested, {skipped} skipped", flush=True)
    return 1 if skipped and os.environ.get("SEENBY_NO_SKIPS") == "1" else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
