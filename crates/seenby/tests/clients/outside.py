"""An identity provider that others wrote (`provider.mjs`), over TLS with a CA of its own, as an outside issuer in both shapes: its
tokens are believed, also after it changes its keys in the middle of a run, and while it is down.

Nothing here signs a token. Unknown keys are asked for at most once in 30 s, so this waits for that. Nothing leaves this machine.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

from server import ADDRESS, Form, ask, check_answer, serving, session

HERE = os.path.dirname(os.path.abspath(__file__))
TENANT = "11111111-2222-4333-8444-555555555555"
READER = "66666666-7777-4888-8999-000000000000"
STRANGER = "66666666-7777-4888-8999-000000000001"
AUDIENCE = "api://seenby.example.org"
OWN_URL = "https://seenby.example.org"
BACK = "http://localhost:53682/back"
SECRET = "a secret of the provider's own book"
PERSON = "kim"
# A little more than the least time between two fetches that tokens bring about.
FETCH_EVERY_S = 31
CALLERS = 4
# How long the provider has to start, and how often that is tried.
STARTS_WITHIN_S = 60
STARTS_MAX = 3

SETTINGS = """
[api]
public_url = "{own_url}"
calls_per_minute = 0
calls_per_hour = 0

[outgoing]
allowed_networks = ["127.0.0.0/8"]

[[issuers]]
kind = "entra"
authority = "{url}"
tenants = {{ "{tenant}" = "default" }}
audiences = ["{audience}"]
ca_file = "{ca}"

[[issuers]]
kind = "oidc"
issuer = "{url}/plain"
organisation = "default"
roles = "scope"
ca_file = "{ca}"
"""


class Provider:
    """The provider's process, and its certificates."""

    def __init__(self, node, packages, folder):
        self.ca = os.path.join(folder, "ca.pem")
        make = """
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=provider-ca -keyout ca.key -out ca.pem \
          -addext keyUsage=critical,keyCertSign,cRLSign
        openssl req -newkey rsa:2048 -nodes -subj /CN=provider -keyout provider.key -out provider.csr
        openssl x509 -req -in provider.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out provider.pem -extfile <(printf '%s\\n' \
          subjectAltName=IP:127.0.0.1 basicConstraints=CA:FALSE keyUsage=digitalSignature authorityKeyIdentifier=keyid)
        """
        subprocess.run(["bash", "-ec", make], cwd=folder, capture_output=True, check=True, timeout=60)
        given = {
            "packages": packages,
            "tenant": TENANT,
            "audience": AUDIENCE,
            "own_url": OWN_URL,
            "reader": READER,
            "stranger": STRANGER,
            "oid": "77777777-8888-4999-8aaa-000000000000",
            "secret": SECRET,
            "back": BACK,
            "key": os.path.join(folder, "provider.key"),
            "certificate": os.path.join(folder, "provider.pem"),
        }
        # It warns of a Node that it does not know yet, and of its development pages.
        self.log = open(os.path.join(folder, "provider.log"), "wb")
        self.url = self.start([node, os.path.join(HERE, "provider.mjs"), json.dumps(given)])
        self.entra = f"{self.url}/{TENANT}/v2.0"
        self.plain = f"{self.url}/plain"

    def start(self, command):
        """Its URL. Node has been seen to stand still before it ran a line of the program: then another one is started."""
        for _ in range(STARTS_MAX):
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True
            )
            deadline = threading.Timer(STARTS_WITHIN_S, self.process.kill)
            deadline.start()
            try:
                return self.says("https://")
            except AssertionError:
                self.process.wait()
            finally:
                deadline.cancel()
        raise AssertionError(f"the provider did not start, {STARTS_MAX} times; see its log")

    def order(self, word):
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        self.says("done")

    def says(self, opening):
        """Its next line that begins so; it has notes of its own."""
        for line in self.process.stdout:
            if line.startswith(opening):
                return line.strip()
        raise AssertionError(f"the provider ended before it said {opening}")

    def token_endpoint(self, issuer):
        return session(self.ca).get(f"{issuer}/.well-known/openid-configuration", timeout=20).json()["token_endpoint"]

    def token(self, issuer, scope, client=READER):
        """As a script gets one."""
        form = {"grant_type": "client_credentials", "client_id": client, "client_secret": SECRET, "scope": scope}
        reply = session(self.ca).post(self.token_endpoint(issuer), data=form, timeout=20).json()
        assert "access_token" in reply, reply
        return reply["access_token"]

    def stop(self):
        self.process.stdin.close()
        self.process.wait(timeout=20)
        self.log.close()


def check_status(answer, status, says=""):
    assert answer.status_code == status and says in answer.text, (answer.status_code, answer.text)


def curl(server, provider):
    """With nothing but curl and sed."""
    script = f"""set -euo pipefail
    TOKEN=$(curl -s --cacert {provider.ca} {provider.token_endpoint(provider.entra)} -d grant_type=client_credentials \\
      -d client_id={READER} --data-urlencode "client_secret={SECRET}" -d scope={AUDIENCE}/.default \\
      | sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')
    curl -s --cacert {server.ca} -H "Authorization: Bearer $TOKEN" {server.url}/api/ips/{ADDRESS}/stats
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0 and json.loads(done.stdout)["ipAddress"] == ADDRESS, done


def msal(server, provider):
    import msal as library

    application = library.ConfidentialClientApplication(
        READER, client_credential=SECRET, authority=f"{provider.url}/{TENANT}", instance_discovery=False
    )
    reply = application.acquire_token_for_client([f"{AUDIENCE}/.default"])
    assert "access_token" in reply, reply
    check_answer(ask(server.url, server.ca, reply["access_token"]))


def azure_identity(server, provider):
    from azure.identity import ClientSecretCredential

    credential = ClientSecretCredential(
        TENANT, READER, SECRET, authority=provider.url, disable_instance_discovery=True
    )
    check_answer(ask(server.url, server.ca, credential.get_token(f"{AUDIENCE}/.default").token))


def refusals(server, provider):
    other = provider.token(provider.entra, "https://graph.example/.default")
    check_status(ask(server.url, server.ca, other), 401, "Unauthorized")
    powerless = provider.token(provider.entra, f"{AUDIENCE}/.default", STRANGER)
    check_status(ask(server.url, server.ca, powerless), 403, "Ip.Read.All")


def plain(server, provider):
    check_answer(ask(server.url, server.ca, provider.token(provider.plain, "Ip.Read.All")))
    check_status(ask(server.url, server.ca, provider.token(provider.plain, "")), 403, "Ip.Read.All")


def sign_in(provider, uri):
    """Somebody at the provider's own pages: signs in, agrees, is sent back. What the client gets."""
    browser = session(provider.ca)
    page = browser.get(uri, timeout=20)
    for typed in ({"login": PERSON, "password": "any"}, {}):
        form = Form(page.text)
        assert set(typed) <= set(form.fields), page.text
        page = browser.post(
            urllib.parse.urljoin(page.url, form.action), data={**form.fields, **typed}, allow_redirects=False, timeout=20
        )
        while page.is_redirect:
            to = urllib.parse.urljoin(page.url, page.headers["Location"])
            if to.startswith(BACK):
                return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(to).query))
            page = browser.get(to, allow_redirects=False, timeout=20)
    raise AssertionError(page.text)


def person(server, provider):
    """A person of the provider, by MSAL: may not ask, and may with the next call once there is a role."""
    import msal as library

    application = library.PublicClientApplication("hunting", oidc_authority=provider.plain)
    flow = application.initiate_auth_code_flow(["Ip.Read.All"], redirect_uri=BACK, response_mode="query")
    reply = application.acquire_token_by_auth_code_flow(flow, sign_in(provider, flow["auth_uri"]))
    assert "access_token" in reply and reply["id_token_claims"]["sub"] == PERSON, reply
    token = reply["access_token"]
    check_status(ask(server.url, server.ca, token), 403, "Forbidden")
    server.run("role", "add", "analysts", "--permission", "view-data")
    server.run("role", "grant", "analysts", "--user", PERSON, "--issuer", provider.plain)
    check_answer(ask(server.url, server.ca, token))


class Callers:
    """Some who get tokens and ask all the time, as fast as they can."""

    def __init__(self, server, provider):
        self.stopping = threading.Event()
        self.answers = []
        self.faults = []
        self.threads = [threading.Thread(target=self.call, args=(server, provider)) for _ in range(CALLERS)]
        for thread in self.threads:
            thread.start()

    def call(self, server, provider):
        try:
            while not self.stopping.is_set():
                token = provider.token(provider.entra, f"{AUDIENCE}/.default")
                self.answers += [ask(server.url, server.ca, token).status_code for _ in range(3)]
        except BaseException as error:
            self.faults.append(error)
            raise

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        assert not self.faults and len(self.answers) > 20 and set(self.answers) == {200}, (self.faults, self.answers)
        return len(self.answers)


def rotation(server, provider):
    """Another key in the middle of a run, and then the old ones gone."""
    scope = f"{AUDIENCE}/.default"
    first = provider.token(provider.entra, scope)
    callers = Callers(server, provider)
    try:
        time.sleep(2)
        provider.order("rotate")
        since = time.monotonic()
        second = provider.token(provider.entra, scope)
        for token in (second, first):
            check_answer(ask(server.url, server.ca, token))
        time.sleep(2)
    finally:
        count = callers.stop()
    print(f"rotation ... ok ({count} calls in flight, all of them 200)", flush=True)
    time.sleep(max(0, since + FETCH_EVERY_S - time.monotonic()))
    provider.order("drop")
    third = provider.token(provider.entra, scope)
    check_answer(ask(server.url, server.ca, third))
    for token in (first, second):
        check_status(ask(server.url, server.ca, token), 401, "Unauthorized")
    print("removed keys ... ok", flush=True)


def outage(server, provider):
    """The keys that are there go on, for tokens never seen before as well; a server without any says when to come back."""
    scope = f"{AUDIENCE}/.default"
    seen, unseen = provider.token(provider.entra, scope), provider.token(provider.entra, scope)
    check_answer(ask(server.url, server.ca, seen))
    provider.stop()
    for token in (seen, unseen):
        check_answer(ask(server.url, server.ca, token))
    server.stop()
    server.start()
    answer = ask(server.url, server.ca, seen)
    check_status(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0, answer.headers
    print("outage ... ok", flush=True)


def main(program, node, packages, folder):
    provider = Provider(node, packages, folder)
    # For libraries that take it from there; what asks our server says itself whom it trusts.
    os.environ["REQUESTS_CA_BUNDLE"] = provider.ca
    settings = SETTINGS.format(url=provider.url, tenant=TENANT, audience=AUDIENCE, ca=provider.ca, own_url=OWN_URL)
    try:
        with serving(program, settings) as server:
            for case in (curl, msal, azure_identity, refusals, plain, person):
                case(server, provider)
                print(f"{case.__name__} ... ok", flush=True)
            rotation(server, provider)
            outage(server, provider)
    except BaseException:
        with open(provider.log.name, encoding="utf-8") as log:
            print("--- the end of the provider's log", *log.read().splitlines()[-20:], "---", sep="\n", flush=True)
        raise
    finally:
        with contextlib.suppress(OSError):
            provider.process.kill()


if __name__ == "__main__":
    # Ended by whoever started it, it ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))
    with tempfile.TemporaryDirectory() as made:
        main(*sys.argv[1:4], made)
