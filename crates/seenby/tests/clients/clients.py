"""Microsoft's libraries for Python, unmodified, over TLS: they get tokens from the built-in issuer and ask the question.

What is tested is the whole way that README describes, and nothing but the clients' own settings. Each case runs in a process
of its own, because what a client trusts comes from the environment. Nothing leaves this machine.
"""

import base64
import json
import os
import subprocess
import sys
import threading
import time
import urllib.parse

from server import DEVICES, RESOURCE, SCOPE, Person, ask, check_answer, run, serving

DELEGATED = f"{RESOURCE}/Ip.Read.All"
NAME, PASSWORD = "kim@example.org", "correct horse battery staple"
BACK = "http://localhost:53682/back"


def authority(given):
    return f"{given['url']}/{given['tenant']}"


def confidential(given, credential, app="secret", **settings):
    import msal

    settings = settings or {"authority": authority(given), "instance_discovery": False}
    return msal.ConfidentialClientApplication(given[app]["client_id"], client_credential=credential, **settings)


def public(given):
    import msal

    application = msal.PublicClientApplication(
        given["hunting"]["client_id"], authority=authority(given), instance_discovery=False
    )
    return application


def decoded(part):
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def header(token):
    return decoded(token.split(".")[0])


def claims(token):
    return decoded(token.split(".")[1])


def token_of(reply):
    assert "access_token" in reply, reply
    return reply["access_token"]


def for_itself(application):
    token = token_of(application.acquire_token_for_client([SCOPE]))
    # The second one is from its cache.
    assert token_of(application.acquire_token_for_client([SCOPE])) == token
    return token


# Client secrets.


def msal_verify(given):
    settings = {"authority": authority(given), "instance_discovery": False, "verify": given["ca"]}
    return for_itself(confidential(given, given["secret"]["client_secret"], **settings))


def msal_bundle(given):
    return for_itself(confidential(given, given["secret"]["client_secret"]))


def msal_oidc(given):
    return for_itself(
        confidential(given, given["secret"]["client_secret"], oidc_authority=f"{authority(given)}/v2.0")
    )


def msal_wrong_secret(given):
    reply = confidential(given, "wrong").acquire_token_for_client([SCOPE])
    assert reply["error"] == "invalid_client", reply


def msal_untrusting(given):
    import requests

    try:
        msal_bundle(given)
    except requests.exceptions.SSLError:
        return
    raise AssertionError("a client that does not know the CA got a token")


def azure(given):
    return {"tenant_id": given["tenant"], "authority": given["url"], "disable_instance_discovery": True}


def azure_secret(given, **settings):
    from azure.identity import ClientSecretCredential

    app = given["secret"]
    return ClientSecretCredential(
        client_id=app["client_id"], client_secret=app["client_secret"], **azure(given), **settings
    )


def azure_identity(given):
    return azure_secret(given).get_token(SCOPE).token


def azure_identity_verify(given):
    return azure_secret(given, connection_verify=given["ca"]).get_token(SCOPE).token


# Certificates.


def assertion_header(application):
    """Of what the library signed, which shows that the two ways are two."""
    signed = application.client.client_assertion
    signed = signed() if callable(signed) else signed
    return header(signed.decode() if isinstance(signed, bytes) else signed)


def msal_certificate_thumbprint(given):
    with open(given["key"], encoding="utf-8") as file:
        credential = {"private_key": file.read(), "thumbprint": given["sha1"]}
    application = confidential(given, credential, "certificate")
    token = for_itself(application)
    signed = assertion_header(application)
    assert signed["alg"] == "RS256" and "x5t" in signed, signed
    return token


def msal_certificate_public(given):
    with open(given["key"], encoding="utf-8") as key, open(given["certificate_file"], encoding="utf-8") as certificate:
        credential = {"private_key": key.read(), "public_certificate": certificate.read()}
    application = confidential(given, credential, "certificate")
    token = for_itself(application)
    signed = assertion_header(application)
    assert signed["alg"] == "PS256" and "x5t#S256" in signed, signed
    return token


def msal_certificate_stranger(given):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    credential = {"private_key": key.decode(), "thumbprint": given["sha1"]}
    reply = confidential(given, credential, "certificate").acquire_token_for_client([SCOPE])
    assert reply["error"] == "invalid_client", reply


def azure_identity_certificate(given):
    from azure.identity import CertificateCredential

    both = os.path.join(given["folder"], "both.pem")
    with open(both, "w", encoding="utf-8") as file:
        for name in (given["key"], given["certificate_file"]):
            with open(name, encoding="utf-8") as part:
                file.write(part.read())
    credential = CertificateCredential(
        client_id=given["certificate"]["client_id"], certificate_path=both, **azure(given)
    )
    return credential.get_token(SCOPE).token


# People.


def person(given):
    return Person(given["ca"], NAME, PASSWORD)


def is_person(token):
    """The token is one of somebody, for what the application may do for them."""
    found = claims(token)
    assert found["scp"] == "Ip.Read.All" and "roles" not in found, found
    # In the v2 form, and in the v1 form.
    assert NAME in (found.get("preferred_username"), found.get("upn"), found.get("unique_name")), found
    return token


def msal_device_code(given):
    application = public(given)
    flow = application.initiate_device_flow([DELEGATED])
    assert flow["verification_uri"] == f"{given['url']}/device" and flow["user_code"] in flow["message"], flow
    # It asks once too early, is told so, and waits.
    early = application.acquire_token_by_device_flow(flow, exit_condition=lambda _: True)
    assert early["error"] == "authorization_pending", early
    person(given).enter_code(flow["verification_uri"], flow["user_code"])
    return is_person(token_of(application.acquire_token_by_device_flow(flow)))


def azure_identity_device_code(given):
    from azure.identity import DeviceCodeCredential

    def prompt(uri, code, _expires):
        threading.Thread(target=person(given).enter_code, args=(uri, code)).start()

    credential = DeviceCodeCredential(
        client_id=given["hunting"]["client_id"], prompt_callback=prompt, timeout=60, **azure(given)
    )
    return is_person(credential.get_token(DELEGATED).token)


def with_code(given, application, **settings):
    flow = application.initiate_auth_code_flow([DELEGATED], redirect_uri=BACK, **settings)
    asked = urllib.parse.parse_qs(urllib.parse.urlsplit(flow["auth_uri"]).query)
    assert asked["code_challenge_method"] == ["S256"] and asked["nonce"], asked
    to, answer = person(given).authorize(flow["auth_uri"])
    assert to == BACK, to
    # It holds state, nonce and the id token's audience against what it sent.
    return application.acquire_token_by_auth_code_flow(flow, answer)


def msal_code(given):
    reply = with_code(given, public(given))
    assert reply["id_token_claims"]["preferred_username"] == NAME, reply
    return is_person(token_of(reply))


def msal_code_confidential(given):
    """A web application: it has a secret, and sends people to the sign-in page too."""
    application = confidential(given, given["portal"]["client_secret"], "portal")
    return is_person(token_of(with_code(given, application, response_mode="form_post", login_hint=NAME)))


def browsing(given):
    """Python's own `webbrowser` opens what BROWSER says."""
    browser = os.path.join(os.path.dirname(os.path.abspath(__file__)), "browser.py")
    os.environ.update(
        BROWSER=f"{sys.executable} {browser} %s &", PERSON_CA=given["ca"], PERSON_NAME=NAME, PERSON_PASSWORD=PASSWORD
    )


def msal_interactive(given):
    browsing(given)
    reply = public(given).acquire_token_interactive([DELEGATED], timeout=60)
    return is_person(token_of(reply))


def azure_identity_interactive(given):
    from azure.identity import InteractiveBrowserCredential

    browsing(given)
    credential = InteractiveBrowserCredential(client_id=given["hunting"]["client_id"], timeout=60, **azure(given))
    token = credential.get_token(DELEGATED).token
    assert credential.get_token(DELEGATED).token == token, "the second one is from its cache"
    return is_person(token)


def msal_refresh(given):
    application = public(given)
    first = token_of(with_code(given, application))
    account = application.get_accounts()[0]
    assert account["username"] == NAME, account
    again = application.acquire_token_silent([DELEGATED], account)
    assert token_of(again) == first and again["token_source"] == "cache", again
    # As after an hour: what it has is as good as expired.
    tokens = list(application.token_cache.search("AccessToken"))
    assert len(tokens) == 1, tokens
    application.token_cache.remove_at(tokens[0])
    second = application.acquire_token_silent([DELEGATED], account)
    assert token_of(second) != first and second["token_source"] == "identity_provider", second
    # And once more, with the refresh token that came with it.
    third = application.acquire_token_silent([DELEGATED], account, force_refresh=True)
    assert token_of(third) not in (first, second["access_token"]), third
    check_answer(ask(given["url"], given["ca"], second["access_token"]))
    return is_person(token_of(third))


def msal_password(given):
    """By the path `adfs`: elsewhere it first asks for the realm of the name, at the host without its port."""
    import msal

    def application():
        settings = {"authority": f"{given['url']}/adfs", "instance_discovery": False}
        return msal.PublicClientApplication(given["hunting"]["client_id"], **settings)

    def sign_in(password):
        return application().acquire_token_by_username_password(NAME, password, [DELEGATED])

    wrong = sign_in("wrong horse battery")
    assert wrong["error"] == "invalid_grant", wrong
    token = token_of(sign_in(PASSWORD))
    own = dict(os.environ)
    run(given["program"], own, "app", "change", "hunting", "--no-password-grant")
    try:
        off = sign_in(PASSWORD)
        assert off["error"] == "unauthorized_client", off
    finally:
        run(given["program"], own, "app", "change", "hunting", "--password-grant")
    return is_person(token)


def msal_role(given):
    """A person without a role may not ask, and may with the next call once the role is there: the token is the same."""
    token = token_of(with_code(given, public(given)))
    own = dict(os.environ)

    def role(verb):
        run(given["program"], own, "role", verb, "analysts", "--user", NAME)

    role("revoke")
    try:
        refused = ask(given["url"], given["ca"], token)
        assert refused.status_code == 403 and refused.json()["error"]["code"] == "Forbidden", refused.text
        assert "view-data" in refused.text or "View" in refused.text, refused.text
    finally:
        role("grant")
    return is_person(token)


def msal_key_rotation(given):
    """The server gets another signing key: tokens of both are good, and nobody has to be told."""
    application = confidential(given, given["secret"]["client_secret"])
    before = for_itself(application)
    run(given["program"], dict(os.environ), "key", "rotate")
    application = confidential(given, given["secret"]["client_secret"])
    after = for_itself(application)
    assert header(before)["kid"] != header(after)["kid"], "it signs with the new one"
    check_answer(ask(given["url"], given["ca"], before))
    return after


# What runs, and whether the CA is in REQUESTS_CA_BUNDLE.
CASES = [
    (msal_verify, False),
    (msal_bundle, True),
    (msal_oidc, True),
    (msal_wrong_secret, True),
    (msal_untrusting, False),
    (azure_identity, True),
    (azure_identity_verify, False),
    (msal_certificate_thumbprint, True),
    (msal_certificate_public, True),
    (msal_certificate_stranger, True),
    (azure_identity_certificate, True),
    (msal_device_code, True),
    (azure_identity_device_code, True),
    (msal_code, True),
    (msal_code_confidential, True),
    (msal_interactive, True),
    (azure_identity_interactive, True),
    (msal_refresh, True),
    (msal_password, True),
    (msal_role, True),
    (msal_key_rotation, True),
]


def readme_block(opening):
    """The first block of README that begins so."""
    readme = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../../README.md")
    with open(readme, encoding="utf-8") as file:
        blocks = file.read().split("```")[1::2]
    found = [block.removeprefix("sh\n") for block in blocks if block.removeprefix("sh\n").startswith(opening)]
    assert found, opening
    return found[0]


def curl_of_readme(server, given):
    """README's own commands, with its values exchanged for ours, as its reader does."""
    script = ""
    for line in readme_block("TENANT=").splitlines():
        for name, value in (
            ("TENANT", given["tenant"]),
            ("CLIENT_ID", given["secret"]["client_id"]),
            ("CLIENT_SECRET", given["secret"]["client_secret"]),
        ):
            if line.startswith(f"{name}="):
                line = f"{name}={value}"
        script += line + "\n"
        # After each way to a token.
        if line.startswith("  | sed"):
            script += 'echo "$TOKEN"\n'
    *tokens, answer = typed_of_readme(server, script).splitlines()
    assert [claims(token)["ver"] for token in tokens] == ["2.0", "1.0"], tokens
    assert json.loads(answer)["organizationPrevalence"] == DEVICES, answer
    made = json.loads(typed_of_readme(server, readme_block("seenby app add manager")))
    script = f"TENANT={made['tenant']}; CLIENT_ID={made['client_id']}; CLIENT_SECRET={made['client_secret']}\n"
    script += "".join(line + "\n" for line in readme_block("TENANT=").splitlines()[3:9])
    printed = typed_of_readme(server, script + readme_block("curl -s -H"))
    # curl puts nothing between two answers.
    roles, end = json.JSONDecoder().raw_decode(printed)
    user = json.loads(printed[end:])
    assert isinstance(roles["value"], list) and user["name"] == "lee@example.org", printed


def typed_of_readme(server, script):
    """What commands print that speak of the usual ports, and of a program that is in the path."""
    for usual, ours in (("http://127.0.0.1:8787", server.url), ("http://127.0.0.1:9787", server.operators)):
        script = script.replace(usual, ours)
    program = os.path.dirname(os.path.abspath(server.program))
    path = f"{program}:{server.environment['PATH']}"
    environment = dict(server.environment, CURL_CA_BUNDLE=server.ca, PATH=path)
    typed = ["bash", "-c", f"set -euo pipefail\n{script}"]
    done = subprocess.run(typed, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done
    return done.stdout


def set_up(server):
    """Applications of every kind, a person, a certificate made by README's own command."""
    made = readme_block("openssl req").splitlines()[0]
    subprocess.run(["bash", "-c", made], cwd=server.folder, capture_output=True, check=True, timeout=60)
    files = {name: os.path.join(server.folder, f"playbooks.{name}") for name in ("key", "pem")}
    server.run("role", "add", "analysts", "--permission", "view-data")
    server.run("user", "add", NAME, "--role", "analysts", "--password-stdin", typed=f"{PASSWORD}\n")
    people = ["--delegated", "Ip.Read.All", "--json"]
    applications = {
        "secret": ["--permission", "Ip.Read.All", "--json"],
        "certificate": ["--permission", "Ip.Read.All", "--certificate", files["pem"], "--json"],
        "hunting": [
            "--public", "--redirect-uri", "http://localhost", "--redirect-uri", BACK, "--device-code", "--password-grant", *people
        ],
        "portal": ["--redirect-uri", BACK, *people],
    }
    given = {name: server.run("app", "add", name, *arguments) for name, arguments in applications.items()}
    shown = subprocess.run(
        ["openssl", "x509", "-in", files["pem"], "-noout", "-fingerprint", "-sha1"], capture_output=True, text=True, check=True
    )
    given.update(
        tenant=given["secret"]["tenant"],
        url=server.url,
        ca=server.ca,
        folder=server.folder,
        program=server.program,
        key=files["key"],
        certificate_file=files["pem"],
        sha1=shown.stdout.strip().rpartition("=")[2].replace(":", ""),
    )
    return given


def run_case(name, given):
    token = globals()[name](given)
    if token is not None:
        check_answer(ask(given["url"], given["ca"], token))


def run_all(program, chosen):
    with serving(program) as server:
        given = set_up(server)
        curl_of_readme(server, given)
        print("curl_of_readme ... ok", flush=True)
        for case, has_bundle in CASES:
            if chosen and case.__name__ not in chosen:
                continue
            began = time.monotonic()
            environment = dict(server.environment, REQUESTS_CA_BUNDLE=given["ca"]) if has_bundle else server.environment
            subprocess.run(
                # The libraries have advice for whoever uses them (which response mode, not to ask too early).
                [sys.executable, "-W", "ignore::UserWarning", os.path.abspath(__file__), "--case", case.__name__],
                env=environment,
                input=json.dumps(given),
                text=True,
                check=True,
                timeout=120,
            )
            print(f"{case.__name__} ... ok ({time.monotonic() - began:.1f} s)", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--case":
        run_case(sys.argv[2], json.load(sys.stdin))
    else:
        run_all(sys.argv[1], sys.argv[2:])
