"""A server as README has it set up: `tls init`, `serve`, one address in the log; and a person who fills in pages.

What is asked of it, and by whom, is in the files that use this one. Nothing here leaves this machine.
"""

import contextlib
import datetime
import html.parser
import json
import os
import signal
import subprocess
import tempfile
import urllib.parse

ADDRESS = "203.0.113.10"
RESOURCE = "https://api.securitycenter.microsoft.com"
SCOPE = f"{RESOURCE}/.default"
DEVICES = 3
# Bundles and proxies of the machine's own would stand in for what is tested.
IN_THE_WAY = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "BROWSER")


class Server:
    """A running server on a folder of its own."""

    def __init__(self, program, folder, settings=""):
        self.program = program
        self.folder = folder
        self.process = None
        self.url = None
        self.operators = None
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("SEENBY_") and not name.lower().endswith("_proxy") and name not in IN_THE_WAY
        }
        self.environment = dict(kept, HOME=folder, SEENBY_DATA=os.path.join(folder, "data"), NO_PROXY="*", no_proxy="*")
        if settings:
            self.environment["SEENBY_SETTINGS"] = self.write("seenby.toml", settings)
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        rows = "".join(f"{now},pc-{number},{ADDRESS}\n" for number in range(DEVICES))
        self.run("ingest", self.write("log.csv", f"time,device,ip\n{rows}"))
        self.ca = self.run("tls", "init", "--json")["ca"]

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def run(self, *arguments, typed=None):
        """Another command on the same folder; what it prints, read where it is JSON."""
        return run(self.program, self.environment, *arguments, typed=typed)

    def start(self):
        self.process = subprocess.Popen(
            [self.program, "serve", "--listen", "127.0.0.1:0"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=open(os.path.join(self.folder, "seenby.log"), "ab"),
            text=True,
        )
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("https://127.0.0.1:"), (self.url, self.log())
        self.operators = self.process.stdout.readline().strip().removesuffix("/metrics")
        assert self.operators.startswith("http://127.0.0.1:"), (self.operators, self.log())

    def log(self):
        with open(os.path.join(self.folder, "seenby.log"), encoding="utf-8") as file:
            return file.read()

    def stop(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(timeout=30) == 0, self.log()


@contextlib.contextmanager
def serving(program, settings=""):
    """A server for as long as it takes; what it logged is shown where something fails."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(os.path.abspath(program), folder, settings)
        try:
            server.start()
            yield server
        except BaseException:
            print("--- the end of the server's log", *server.log().splitlines()[-8:], "---", sep="\n", flush=True)
            raise
        finally:
            server.stop()


def run(program, environment, *arguments, typed=None):
    done = subprocess.run(
        [program, *arguments], env=environment, input=typed, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return done.stdout


def session(ca):
    """What a script or a browser asks with."""
    import requests

    made = requests.Session()
    # The environment may name another bundle, which would win.
    made.trust_env = False
    made.verify = ca
    return made


def ask(url, ca, token):
    """The question, as a script asks it."""
    headers = {"Authorization": f"Bearer {token}"}
    return session(ca).get(f"{url}/api/ips/{ADDRESS}/stats", headers=headers, timeout=20)


def check_answer(answer):
    """It is the right one."""
    assert answer.status_code == 200, (answer.status_code, answer.text)
    body = answer.json()
    assert body["organizationPrevalence"] == DEVICES and body["orgPrevalence"] == str(DEVICES), body
    context = f"{urllib.parse.urljoin(answer.url, '/')}api/$metadata#microsoft.windowsDefenderATP.api.InOrgIPStats"
    assert body["@odata.context"] == context, body
    assert answer.headers["Strict-Transport-Security"].startswith("max-age="), answer.headers


class Form(html.parser.HTMLParser):
    """The one form of a page: where it goes, and what is in it before anybody types."""

    def __init__(self, page):
        super().__init__()
        self.action = None
        self.fields = {}
        self.feed(page)
        assert self.action is not None, page

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "form":
            assert self.action is None and attributes["method"] == "post", attributes
            self.action = attributes.get("action", "")
        elif tag == "input":
            self.fields[attributes["name"]] = attributes.get("value", "")


class Person:
    """Somebody with a browser, who types what pages ask for and follows no redirect without looking at it."""

    def __init__(self, ca, name, password):
        self.name = name
        self.password = password
        self.browser = session(ca)

    def fill(self, page, **typed):
        """Sends the form of a page as a browser does."""
        form = Form(page.text)
        for name in typed:
            assert name in form.fields, (name, page.text)
        to = urllib.parse.urljoin(page.url, form.action) if form.action else page.url
        own, other = (urllib.parse.urlsplit(url) for url in (page.url, to))
        site = "same-origin" if own[:2] == other[:2] else "cross-site"
        headers = {"Origin": f"{own.scheme}://{own.netloc}", "Sec-Fetch-Site": site}
        return self.browser.post(
            to, data={**form.fields, **typed}, headers=headers, allow_redirects=False, timeout=20
        )

    def sign_in(self, page):
        assert page.status_code == 200 and "Sign in to" in page.text, (page.status_code, page.text)
        return self.fill(page, username=self.name, password=self.password)

    def enter_code(self, uri, code):
        """The code page, the sign-in page, approved."""
        page = self.fill(self.browser.get(uri, timeout=20), user_code=code.lower())
        done = self.sign_in(page)
        assert done.status_code == 200 and "Signed in" in done.text, (done.status_code, done.text)

    def authorize(self, uri):
        """Signs in where a client sends people: where the answer goes, and what is in it."""
        back = self.sign_in(self.browser.get(uri, timeout=20))
        if back.status_code == 303:
            to, _, query = back.headers["Location"].partition("?")
            return to, dict(urllib.parse.parse_qsl(query))
        form = self.sent_on(back)
        return form.action, form.fields

    def go_back(self, uri):
        """The same, and goes on to the client's own listener; what that says."""
        back = self.sign_in(self.browser.get(uri, timeout=20))
        if back.status_code == 303:
            return self.browser.get(back.headers["Location"], timeout=20)
        self.sent_on(back)
        return self.fill(back)

    def sent_on(self, page):
        """The form that a page sends on at once, by its script."""
        assert page.status_code == 200 and ".submit()" in page.text, (page.status_code, page.text)
        return Form(page.text)
