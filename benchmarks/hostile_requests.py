"""What hostile requests get from `mlflow models serve`: `python -m benchmarks.hostile_requests`.

The requests of `tests/hostile_requests.py`, one after the other, to a ResNet-34 at 224 px with random weights. Memory
is the peak of all processes of the server while it answers, above what they held after the first good answer.
"""

import time

from benchmarks.served import random_model
from tests.hostile_requests import OK, HostileRequest, hostile_requests, sent
from tests.integration.serving import Server

_SHOWN_CHARS = 110


def row(server: Server, request: HostileRequest, idle_mb: float) -> str:
    """One line of the table."""
    body = request.body()
    server.forget_peak()
    began = time.perf_counter()
    answer = sent(server.base, request, body)
    seconds, peak = time.perf_counter() - began, server.memory_mb("VmHWM") - idle_mb
    said = request.said(answer)
    shown = " ".join(said.replace("|", "/").replace("`", "'").split())
    shown = "answered" if said == OK else f"`{shown[:_SHOWN_CHARS]}{'…' if len(shown) > _SHOWN_CHARS else ''}`"
    who = "eusml" if request.ours else "MLflow"
    return f"| {request.kind} | {who} | {answer.status_code} | {shown} | {seconds:.1f} | {max(peak, 0):.0f} |"


def main() -> None:
    """Print the table; after every request a good one must be answered as before."""
    requests = hostile_requests()
    good = requests[0]
    with random_model(224, 4) as model, model.served() as server:
        expected = sent(server.base, good).text
        idle = server.memory_mb("VmRSS")
        print(f"Idle: {idle:.0f} MB.\n\n| request | who answers | status | answer | seconds | peak above idle, MB |")
        print("|---|---|---|---|---|---|")
        for request in requests:
            print(row(server, request, idle), flush=True)
            assert sent(server.base, good).text == expected


if __name__ == "__main__":
    main()
