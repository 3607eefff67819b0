"""Does the server do what its OpenAPI document says? schemathesis makes requests of the document, sound and broken ones, sends them
to a running server with good tokens (of an application that may ask, and of one that may manage too), and holds every answer
against the document.

All its checks are on but one, `positive_data_acceptance`: what fits the schema of a sign-in is refused if there is no such
client or code, and how far back may be asked is the organisation's (see `lookBackHours`). The seed is fixed.
"""

import json
import os
import subprocess
import sys

from server import SCOPE, serving, session

LIMITS_OFF = "[api]\ncalls_per_minute = 0\ncalls_per_hour = 0\n"
SEED, EXAMPLES = "20261125", "60"
# The paths that only the operator's listener has.
OPERATORS = "^/(metrics|sources$|seenby/v1/(users|roles|applications|organisation|sources))"


def judged(server, token, document, *more):
    command = [os.path.join(os.path.dirname(sys.executable), "st"), "run", document, *more]
    command += ["--header", f"Authorization: Bearer {token}", "--tls-verify", server.ca]
    command += ["--seed", SEED, "--exclude-checks", "positive_data_acceptance"]
    command += ["--request-timeout", "20", "--generation-database", "none", "--no-color", "--warnings", "off"]
    # What it leaves behind goes with the folder.
    return subprocess.run(
        command, env=server.environment, cwd=server.folder, capture_output=True, text=True, check=False, timeout=240
    )


def token_of(server, name, *permissions):
    """For a new application that may do all that."""
    asked = [word for permission in permissions for word in ("--permission", permission)]
    app = server.run("app", "add", name, *asked, "--json")
    form = {
        "grant_type": "client_credentials",
        "client_id": app["client_id"],
        "client_secret": app["client_secret"],
        "scope": SCOPE,
    }
    url = f"{server.url}/{app['tenant']}/oauth2/v2.0/token"
    return session(server.ca).post(url, data=form, timeout=20).json()["access_token"]


def main(program):
    with serving(program, LIMITS_OFF) as server:
        token = token_of(server, "reader", "Ip.Read.All")
        document = session(server.ca).get(f"{server.url}/openapi.json", timeout=20).json()
        # It judges: with a status left out of the document, an answer with it is a fault.
        stats = "/api/ips/{ip}/stats"
        del document["paths"][stats]["get"]["responses"]["400"]
        wrong = server.write("wrong.json", json.dumps(document))
        done = judged(server, token, wrong, "--url", server.url, "--include-path", stats, "--max-examples", "5")
        assert done.returncode == 1 and "Undocumented status code: 1" in done.stdout, done.stdout
        for name in ("reader", "manager"):
            if name == "manager":
                token = token_of(server, name, "Ip.Read.All", "Seenby.Manage")
            for which, where in (("--exclude-path-regex", server.url), ("--include-path-regex", server.operators)):
                told = (which, OPERATORS, "--url", where, "--max-examples", EXAMPLES)
                done = judged(server, token, f"{server.url}/openapi.json", *told)
                assert done.returncode == 0, f"{done.stdout[-20_000:]}\n{done.stderr[-4_000:]}"
                assert server.process.poll() is None
                told = [line.strip() for line in done.stdout.splitlines() if "Selected:" in line or "generated" in line]
                print(f"document, {name}, {where[:5].rstrip(':')} ... ok:", "; ".join(told), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
