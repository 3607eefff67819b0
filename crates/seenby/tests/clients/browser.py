"""A browser that a person sits at, for clients that open one: signs in at the URL and goes back to the client's own listener.

Who signs in, and by which CA the server is known, comes from the environment. Nothing here knows what the client makes of it.
"""

import os
import sys

from server import Person, session

person = Person(os.environ["PERSON_CA"], os.environ["PERSON_NAME"], os.environ["PERSON_PASSWORD"])
back = person.authorize(sys.argv[1])
# The client's own listener, on this machine and without TLS.
assert back.startswith("http://localhost:"), back
answer = session(False).get(back, timeout=20)
assert answer.status_code == 200, (answer.status_code, answer.text)
