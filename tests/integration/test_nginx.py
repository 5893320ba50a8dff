"""The real nginx with `deploy/nginx.conf` before a real served model: what MLflow's server lets through is closed."""

import getpass
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.hostile_requests import GOOD, JSON, HostileRequest, hostile_requests, in_front, sent
from tests.integration.conftest import BIN, Place
from tests.integration.serving import Server, free_port, served_model

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.server,
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed"),
]

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "nginx.conf"
MAX_BODY = 50 * 1024 * 1024
GOOD_REQUEST = hostile_requests()[0]


@contextmanager
def nginx(folder: Path, model: Server, **replaced: str) -> Iterator[str]:
    """The address of nginx in front of a model; the settings in `replaced` get other values."""
    port, text = free_port(), CONFIGURATION.read_text()
    settings = {"127.0.0.1:5001": urlsplit(model.base).netloc, "127.0.0.1:8080": f"127.0.0.1:{port}", **replaced}
    for old, new in settings.items():
        assert text.count(old) >= 1, old
        text = text.replace(old, new)
    (folder / "nginx.conf").write_text(text)
    words = ["-c", str(folder / "nginx.conf"), "-p", f"{folder}/", "-e", "error.log"]
    # Root's nginx would work as another user, who may not write here.
    process = subprocess.Popen([str(NGINX), *words, "-g", f"user {getpass.getuser()};"], stderr=subprocess.DEVNULL)
    try:
        base, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 30
        while True:
            assert process.poll() is None
            assert time.monotonic() < deadline
            try:
                requests.get(f"{base}/ping", timeout=5)
                break
            except requests.ConnectionError:
                time.sleep(0.1)
        yield base
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def model(finished: Place) -> Iterator[Server]:
    with served_model(finished, "models:/eusml-phantom-resnet34@champion") as found:
        yield found


@pytest.fixture(scope="module")
def front(model: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with nginx(tmp_path_factory.mktemp("nginx"), model) as base:
        yield base


def asked(model: Server) -> int:
    """How many requests the model's server has seen."""
    return model.log.read_text().count('"POST /invocations')


def status_in_front(request: HostileRequest, body: bytes) -> int:
    if len(body) > MAX_BODY:
        return 413
    if request.headers != JSON:
        return 415
    return request.status


@pytest.mark.parametrize("views", [0, 4])
def test_a_good_request_gets_the_same_bytes(front: str, model: Server, views: int) -> None:
    body = json.dumps({"dataframe_records": [{"image": GOOD}] * 3, "params": {"tta": views, "explain": True}}).encode()
    direct, behind = (sent(base, GOOD_REQUEST, body) for base in (model.base, front))
    assert behind.status_code == direct.status_code == 200
    assert behind.content == direct.content
    assert "uvicorn" not in behind.headers["server"]


@pytest.mark.parametrize("request_", in_front(), ids=lambda request: request.kind)
def test_what_mlflow_lets_through_is_closed(request_: HostileRequest, front: str, model: Server) -> None:
    body, before = request_.body(), asked(model)
    answer, expected = sent(front, request_, body), status_in_front(request_, body)
    assert answer.status_code == expected
    if expected in (413, 415):
        assert asked(model) == before
    if expected != 200:
        message = answer.json()["message"]
        assert set(answer.json()) == {"message"}
        assert message.isprintable()
        assert not any(word in message for word in ("Traceback", "site-packages", str(BIN), GOOD[:20], "Error:"))
    assert sent(front, GOOD_REQUEST).status_code == 200


def test_the_models_own_sentences_come_through(front: str, model: Server) -> None:
    wrong = [request for request in hostile_requests() if request.kind in ("65 rows", "NaN box", "error_rate NaN")]
    assert len(wrong) == 3
    for request in wrong:
        direct, behind = sent(model.base, request), sent(front, request)
        assert behind.status_code == direct.status_code == request.status
        assert behind.text == direct.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/invocations", 405),
        ("PUT", "/invocations", 405),
        ("DELETE", "/invocations", 405),
        ("POST", "/ping", 405),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
        ("GET", "/version", 404),
        ("GET", "/said/400", 404),
        ("GET", "/invocations/../version", 404),
        ("GET", "/" + "x" * 20_000, 414),
    ],
)
def test_there_is_nothing_else(front: str, method: str, path: str, status: int) -> None:
    answer = requests.request(method, front + path, timeout=30)
    assert answer.status_code == status
    assert answer.json()["message"].isprintable()


def test_mlflow_alone_shows_its_pages_to_everybody(model: Server) -> None:
    assert requests.get(f"{model.base}/docs", timeout=30).ok


def begun(base: str) -> socket.socket:
    """A connection that has sent a part of a request's body."""
    found = socket.create_connection(("127.0.0.1", urlsplit(base).port or 0), timeout=30)
    found.sendall(
        b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    )
    return found


def test_slow_clients_are_cut_off_and_one_address_has_eight_connections_at_most(model: Server, tmp_path: Path) -> None:
    seen = asked(model)
    replaced = {"client_body_timeout 20s": "client_body_timeout 3s"}
    with nginx(tmp_path, model, **replaced) as base, ExitStack() as connections:
        slow = [connections.enter_context(begun(base)) for _ in range(8)]
        time.sleep(0.5)
        refused = sent(base, GOOD_REQUEST)
        assert refused.status_code == 429
        assert "too many requests" in refused.json()["message"]
        assert [one.recv(4096) for one in slow] == [b""] * 8  # closed by nginx, or this waits for half a minute
        assert asked(model) == seen
        assert sent(base, GOOD_REQUEST).status_code == 200


def test_who_asks_too_often_is_told_so(model: Server, tmp_path: Path) -> None:
    with nginx(tmp_path, model, **{"rate=50r/s": "rate=1r/m", "burst=50": "burst=2"}) as base:
        found = [sent(base, GOOD_REQUEST).status_code for _ in range(5)]
    assert found == [200, 200, 200, 429, 429]


def test_without_a_model_nginx_says_so(tmp_path: Path) -> None:
    nobody = Server(f"http://127.0.0.1:{free_port()}", 0, tmp_path / "no.log")
    with nginx(tmp_path, nobody) as base:
        answer = sent(base, GOOD_REQUEST)
    assert answer.status_code == 502
    assert "does not answer now" in answer.json()["message"]
