"""A browser that a person sits at, for clients that open one: signs in at the URL and goes back to the client's own listener.

Who signs in, and by which CA the server is known, comes from the environment. Nothing here knows what the client makes of it.
"""

import os
import sys

from server import Person

person = Person(os.environ["PERSON_CA"], os.environ["PERSON_NAME"], os.environ["PERSON_PASSWORD"])
answer = person.go_back(sys.argv[1])
assert answer.url.startswith("http://localhost:") and answer.status_code == 200, (answer.url, answer.status_code)
