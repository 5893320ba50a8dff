"""What serving costs beside the network's own work: `python -m benchmarks.serving [REQUESTS [SECONDS]]`.

One PNG of 160 x 160 pixels, and eight at once, are asked about in three ways, in turns: one bare forward pass of the
prepared images, all else that answers hold with it (`Asked.answer`: decoding, preparing, warnings, sets), and
`mlflow models serve` over one connection that is kept open. An answer does not depend on its neighbours, so eight
answers are eight passes. Then `wrk` (of the system) asks the server with 1, 4 and 8 connections. ResNet-34, random
weights.
"""

import base64
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np
import requests
import torch

from benchmarks.served import RandomModel, random_model
from eusml.data.images import encode_png, prepare
from eusml.learning.batches import Normalisation, to_device, to_grey
from eusml.learning.predict import turned
from eusml.tracking.asking import Asked
from eusml.tracking.options import Options
from tests.integration.serving import Server
from tests.pictures import speckled

SETTINGS = ((48, 1), (48, 4), (224, 1), (224, 4))
"""Side of the network's input, pixels, and orientations that an answer is the mean of."""
CLIENTS = (1, 4, 8)
TOGETHER = (1, 8)
"""Images in one request."""
PNGS = [encode_png(speckled(1000 + number)) for number in range(max(TOGETHER))]

_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [==[{body}]==]
function done(summary, latency, requests)
  local bad = summary.errors.status + summary.errors.timeout + summary.errors.read + summary.errors.connect
  local seconds = summary.duration / 1e6
  print(string.format('{{"rate": %.6f, "p95_ms": %.6f, "bad": %d}}', summary.requests / seconds,
                      latency:percentile(95) / 1000, bad))
end
"""


def milliseconds(work: Callable[[], object]) -> float:
    """Of one call."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def body(pngs: Sequence[bytes]) -> str:
    """A request about some images."""
    return json.dumps({"dataframe_records": [{"image": base64.b64encode(png).decode()} for png in pngs]})


def latencies(model: RandomModel, server: Server, pngs: Sequence[bytes], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each way, the three in turns so that other work on the machine meets all."""
    spec, network = model.bundle.spec, model.bundle.network
    images = np.stack([prepare(png, None, spec.preparation, "image") for png in pngs])
    views = torch.cat(turned(to_grey(to_device(images, torch.device("cpu"))), spec.views))
    inputs = Normalisation(spec.mean, spec.std)(views)
    asked, request = Asked(model.bundle, "model", "1"), body(pngs)
    with requests.Session() as session:

        def served() -> list[float]:
            answer = session.post(f"{server.base}/invocations", request, headers={"Content-Type": "application/json"})
            return [float(row["probability"]) for row in answer.json()["predictions"]]

        assert served() == model.bundle.scores(images).tolist()
        ways = {
            "forward": torch.inference_mode()(lambda: network(inputs)),
            "answer": lambda: [asked.answer(png, None, Options(), "image") for png in pngs],
            "HTTP": served,
        }
        turns = [{name: milliseconds(way) for name, way in ways.items()} for _ in range(rounds)]
    return {name: [turn[name] for turn in turns] for name in ways}


def throughput(server: Server, clients: int, seconds: int) -> dict[str, float]:
    """Answers per second and the 95th percentile of their milliseconds, by `wrk`."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_SCRIPT.format(body=body(PNGS[:1])))
        script.flush()
        words = ["wrk", "-t", "1", "-c", str(clients), "-d", f"{seconds}s", "--timeout", "60s", "-s", script.name]
        done = subprocess.run([*words, f"{server.base}/invocations"], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    assert found["bad"] == 0, done.stdout
    return found


def main(rounds: int, seconds: int) -> None:
    """Print both tables, a row per setting."""
    one, many = [], []
    for size_px, views in SETTINGS:
        with random_model(size_px, views) as model, model.served() as server:
            for count in TOGETHER:
                found = latencies(model, server, PNGS[:count], max(rounds // count, 1))
                middle = {name: statistics.median(times) for name, times in found.items()}
                cells = [f"{middle[name]:.1f} / {np.quantile(times, 0.95):.1f}" for name, times in found.items()]
                ratios = [f"{middle['HTTP'] / middle[name]:.2f}" for name in ("forward", "answer")]
                one.append(f"| {size_px} px, {views} | {count} | {' | '.join([*cells, *ratios])} |")
                print(one[-1], file=sys.stderr, flush=True)
            rates = [throughput(server, clients, seconds) for clients in CLIENTS]
            cells = [f"{rate['rate']:.1f} ({rate['p95_ms']:.0f} ms)" for rate in rates]
            many.append(f"| {size_px} px, {views} | {' | '.join(cells)} |")
            print(many[-1], file=sys.stderr, flush=True)
    print(f"{torch.get_num_threads()} threads; median / 95th percentile in ms")
    print(f"{rounds} requests of one image, {rounds // max(TOGETHER)} of {max(TOGETHER)}\n")
    print("| image, views | images | forward | answer | HTTP | HTTP / forward | HTTP / answer |")
    print("|---|---|---|---|---|---|---|")
    print(*one, sep="\n")
    counts = [f"{clients} client{'s' if clients > 1 else ''}" for clients in CLIENTS]
    print(f"\n| image, views | {' | '.join(counts)} |\n|---|---|---|---|")
    print(*many, sep="\n")


if __name__ == "__main__":
    main(*[int(word) for word in (*sys.argv[1:], *("200", "15")[len(sys.argv) - 1 :])])
