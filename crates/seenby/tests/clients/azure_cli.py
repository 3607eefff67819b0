"""The Azure CLI, unmodified, over TLS: it is told of our server as of a cloud, signs in as an application, and asks the question.

Signing in, it lists the subscriptions of whoever signs in, even with --allow-no-subscriptions. That is no part of seenby, so
a stub of Azure's resource manager answers that there are none. Nothing leaves this machine.
"""

import http.server
import json
import os
import ssl
import subprocess
import sys
import threading

from server import ADDRESS, DEVICES, RESOURCE, serving

# What it asks for when it signs in; the stub takes any token.
MANAGEMENT = "https://management.core.windows.net/"
SETTINGS = f'[api]\nextra_resources = ["{MANAGEMENT}"]\n'


class Nothing(http.server.BaseHTTPRequestHandler):
    """A resource manager without anything in it."""

    asked = []

    def do_GET(self):
        Nothing.asked.append(self.path.partition("?")[0])
        token = self.headers.get("Authorization", "")
        body = b'{"value": []}'
        self.send_response(200 if token.startswith("Bearer ") else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """It keeps quiet."""


def resource_manager(server):
    """The stub with the certificate of our server: the same host, another port."""
    folder = os.path.dirname(server.ca)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(folder, "server.pem"), os.path.join(folder, "server.key"))
    stub = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nothing)
    stub.socket = context.wrap_socket(stub.socket, server_side=True)
    threading.Thread(target=stub.serve_forever, daemon=True).start()
    return f"https://127.0.0.1:{stub.server_address[1]}"


def main(program, az):
    with serving(program, SETTINGS) as server:
        environment = dict(
            server.environment,
            AZURE_CONFIG_DIR=os.path.join(server.folder, "azure"),
            AZURE_CORE_COLLECT_TELEMETRY="false",
            REQUESTS_CA_BUNDLE=server.ca,
        )

        def run(*arguments):
            done = subprocess.run(
                [az, *arguments, "--output", "json"], env=environment, capture_output=True, text=True, check=False, timeout=180
            )
            assert done.returncode == 0, (arguments[:3], done.stdout, done.stderr)
            return json.loads(done.stdout or "null")

        def ask():
            answer = run("rest", "--url", f"{server.url}/api/ips/{ADDRESS}/stats", "--resource", RESOURCE)
            assert answer["organizationPrevalence"] == DEVICES and answer["ipAddress"] == ADDRESS, answer

        # Otherwise it asks Microsoft's cloud about our host first.
        run("config", "set", "core.instance_discovery=false")
        run(
            "cloud", "register", "--name", "seenby", "--skip-endpoint-discovery",
            "--endpoint-active-directory", server.url,
            "--endpoint-active-directory-resource-id", MANAGEMENT,
            "--endpoint-resource-manager", resource_manager(server),
        )
        run("cloud", "set", "--name", "seenby")
        app = server.run("app", "add", "cli", "--permission", "Ip.Read.All", "--json")
        login = ["login", "--service-principal", "--allow-no-subscriptions", "--tenant", app["tenant"]]
        run(*login, "--username", app["client_id"], f"--password={app['client_secret']}")
        ask()
        assert set(Nothing.asked) == {"/subscriptions"}, Nothing.asked
        print("az login with a secret, az rest ... ok", flush=True)
        run("logout")
        make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=cli -keyout cli.key -out cli.pem; cat cli.key cli.pem > both.pem"
        subprocess.run(["bash", "-ec", make], cwd=server.folder, capture_output=True, check=True, timeout=60)
        pem = os.path.join(server.folder, "cli.pem")
        app = server.run("app", "add", "cli-certificate", "--permission", "Ip.Read.All", "--certificate", pem, "--json")
        run(*login, "--username", app["client_id"], "--certificate", os.path.join(server.folder, "both.pem"))
        ask()
        print("az login with a certificate, az rest ... ok", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:3])
