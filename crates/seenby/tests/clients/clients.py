"""Real clients, unmodified, over TLS: they get tokens from the built-in issuer and ask the question.

What is tested is the whole way that README describes: `tls init`, `serve`, and nothing but the clients' own settings. Each
case runs in a process of its own, because what a client trusts comes from the environment. Nothing leaves this machine.
"""

import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile

ADDRESS = "198.51.100.20"
SCOPE = "https://api.securitycenter.microsoft.com/.default"


def msal_token(given, **authority):
    import msal

    application = msal.ConfidentialClientApplication(
        given["client_id"], client_credential=given["client_secret"], **authority
    )
    reply = application.acquire_token_for_client([SCOPE])
    assert "access_token" in reply, reply
    # The second one is from its cache.
    assert application.acquire_token_for_client([SCOPE])["access_token"] == reply["access_token"]
    return reply["access_token"]


def msal_verify(given):
    return msal_token(
        given, authority=f"{given['url']}/{given['tenant']}", instance_discovery=False, verify=given["ca"]
    )


def msal_bundle(given):
    return msal_token(given, authority=f"{given['url']}/{given['tenant']}", instance_discovery=False)


def msal_oidc(given):
    return msal_token(given, oidc_authority=f"{given['url']}/{given['tenant']}/v2.0")


def msal_wrong_secret(given):
    import msal

    application = msal.ConfidentialClientApplication(
        given["client_id"],
        client_credential="wrong",
        authority=f"{given['url']}/{given['tenant']}",
        instance_discovery=False,
    )
    reply = application.acquire_token_for_client([SCOPE])
    assert reply["error"] == "invalid_client", reply


def msal_untrusting(given):
    import requests

    try:
        msal_bundle(given)
    except requests.exceptions.SSLError:
        return
    raise AssertionError("a client that does not know the CA got a token")


def azure_identity(given):
    from azure.identity import ClientSecretCredential

    credential = ClientSecretCredential(
        given["tenant"],
        given["client_id"],
        given["client_secret"],
        authority=given["url"],
        disable_instance_discovery=True,
    )
    return credential.get_token(SCOPE).token


def azure_identity_verify(given):
    from azure.identity import ClientSecretCredential

    credential = ClientSecretCredential(
        given["tenant"],
        given["client_id"],
        given["client_secret"],
        authority=given["url"],
        disable_instance_discovery=True,
        connection_verify=given["ca"],
    )
    return credential.get_token(SCOPE).token


# What runs, and whether the CA is in REQUESTS_CA_BUNDLE.
CASES = [
    (msal_verify, False),
    (msal_bundle, True),
    (msal_oidc, True),
    (msal_wrong_secret, True),
    (msal_untrusting, False),
    (azure_identity, True),
    (azure_identity_verify, False),
]


def ask(given, token):
    """The question, as a script asks it."""
    import requests

    session = requests.Session()
    # The environment may name another bundle, which would win.
    session.trust_env = False
    session.verify = given["ca"]
    answer = session.get(
        f"{given['url']}/api/ips/{ADDRESS}/stats", headers={"Authorization": f"Bearer {token}"}, timeout=20
    )
    assert answer.status_code == 200, (answer.status_code, answer.text)
    body = answer.json()
    assert body["organizationPrevalence"] == 1 and body["orgPrevalence"] == "1", body
    context = f"{given['url']}/api/$metadata#microsoft.windowsDefenderATP.api.InOrgIPStats"
    assert body["@odata.context"] == context, body
    assert answer.headers["Strict-Transport-Security"].startswith("max-age="), answer.headers


def run_case(name, given):
    token = globals()[name](given)
    if token is not None:
        ask(given, token)


def run_all(program):
    with tempfile.TemporaryDirectory() as folder:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SEENBY_")}
        # Bundles of the machine's own would stand in for what is tested.
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
            clean.pop(name, None)
        clean.update(HOME=folder, SEENBY_DATA=os.path.join(folder, "data"), NO_PROXY="*", no_proxy="*")

        def seenby(*arguments):
            done = subprocess.run(
                [program, *arguments], env=clean, capture_output=True, text=True, check=False, timeout=120
            )
            assert done.returncode == 0, (arguments, done.stderr)
            return done.stdout

        log = os.path.join(folder, "log.csv")
        with open(log, "w", encoding="utf-8") as file:
            now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            file.write(f"time,device,ip\n{now},pc-1,{ADDRESS}\n")
        seenby("ingest", log)
        given = json.loads(seenby("app", "add", "clients", "--permission", "Ip.Read.All", "--json"))
        given["ca"] = json.loads(seenby("tls", "init", "--json"))["ca"]
        server = subprocess.Popen(
            [program, "serve", "--listen", "127.0.0.1:0"], env=clean, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            given["url"] = server.stdout.readline().strip()
            assert given["url"].startswith("https://127.0.0.1:"), given["url"]
            for case, has_bundle in CASES:
                environment = dict(clean, REQUESTS_CA_BUNDLE=given["ca"]) if has_bundle else clean
                subprocess.run(
                    [sys.executable, os.path.abspath(__file__), "--case", case.__name__],
                    env=environment,
                    input=json.dumps(given),
                    text=True,
                    check=True,
                    timeout=120,
                )
                print(f"{case.__name__} ... ok", flush=True)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=30)


if __name__ == "__main__":
    if sys.argv[1] == "--case":
        run_case(sys.argv[2], json.load(sys.stdin))
    else:
        run_all(os.path.abspath(sys.argv[1]))
