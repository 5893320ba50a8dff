"""Hostile requests to the real `mlflow models serve`: what each gets, and that the next one is answered as before."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.hostile_files import OK
from tests.hostile_requests import HostileRequest, hostile_requests, sent
from tests.integration.conftest import BIN, Place
from tests.integration.serving import Server, served_model
from tests.memory import needs_proc

pytestmark = [pytest.mark.slow, pytest.mark.server, needs_proc]

REQUESTS = hostile_requests()
MAX_MEMORY_MB = 1500
MAX_SENTENCE = 200
ECHOED = 24
"""No so many letters in a row of what was sent may stand in what our code says."""


@pytest.fixture(scope="module")
def served(finished: Place) -> Iterator[Server]:
    with served_model(finished, "models:/eusml-phantom-resnet34@champion") as found:
        yield found


@pytest.fixture(scope="module")
def good(served: Server) -> HostileRequest:
    return next(request for request in REQUESTS if request.kind == "a good image")


@pytest.fixture(scope="module")
def expected(served: Server, good: HostileRequest) -> str:
    return sent(served.base, good).text


@pytest.fixture(scope="module")
def idle_mb(served: Server, expected: str) -> float:
    """What the server holds after its first answer, before anything hostile."""
    return served.memory_mb("VmRSS")


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.kind)
def test_a_hostile_request_gets_what_it_must(
    request_: HostileRequest, served: Server, good: HostileRequest, expected: str, idle_mb: float
) -> None:
    body = request_.body()
    served.forget_peak()
    answer = sent(served.base, request_, body)
    assert served.memory_mb("VmHWM") - idle_mb < MAX_MEMORY_MB
    assert answer.status_code == request_.status, answer.text
    said = request_.said(answer)
    assert re.search(request_.answer, said)
    assert (said == OK) == (request_.status == 200 and request_.answer == OK)
    if request_.ours:
        _check_ours(answer, said, body)
    assert sent(served.base, good).text == expected


def _check_ours(answer: requests.Response, said: str, body: bytes) -> None:
    json.loads(answer.text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert len(said) <= MAX_SENTENCE
    assert said.isprintable()
    assert not any(word in answer.text for word in ("Traceback", "stack_trace", "site-packages", str(BIN), 'File \\"'))
    content = body.decode(errors="replace")
    echoed = [said[at : at + ECHOED] for at in range(len(said) - ECHOED + 1)]
    assert not [text for text in echoed if text in content]


def test_large_pictures_at_once_are_decoded_one_after_the_other(served: Server, idle_mb: float) -> None:
    (large,) = (request for request in REQUESTS if request.kind == "the largest picture allowed, with alpha")
    body = large.body()
    served.forget_peak()
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: sent(served.base, large, body), range(8)))
    assert served.memory_mb("VmHWM") - idle_mb < MAX_MEMORY_MB
    assert len({answer.text for answer in answers}) == 1


def test_every_kind_has_a_name_of_its_own() -> None:
    assert len({request.kind for request in REQUESTS}) == len(REQUESTS)
