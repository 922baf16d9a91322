"""Ask a model over HTTP from many threads, and check every answer.

Starts the server of serve.py in this process. Each answer is compared with what the
model says when one thread asks it directly. Prints how many were wrong, the requests a
second, and the latency.
"""

import argparse
import http.client
import json
import threading
import time
from pathlib import Path

import numpy as np

import dyrnn
from dyrnn import command_line
from serve import answer, load, server, train


def make_requests(vocabulary, n, seed=0):
    """Return different texts of 1 to 20 words of the vocabulary."""
    rng = np.random.default_rng(seed)
    words = [word for word in vocabulary.words if not word.startswith("<")]
    return [" ".join(rng.choice(words, rng.integers(1, 21))) for _ in range(n)]


def is_right(found, meant):
    """Whether two answers have the same words, with the same probabilities to 1e-5."""
    return [w for w, _ in found] == [w for w, _ in meant] and np.allclose(
        [p for _, p in found], [p for _, p in meant], rtol=1e-4, atol=1e-7
    )


def ask_all(port, texts, expected, n_requests, n_threads):
    """Return the number of wrong answers, the latencies and the seconds of it all."""
    wrong, latencies = [], []

    def client(number):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for i in range(number, n_requests, n_threads):
            k = i % len(texts)
            begun = time.perf_counter()
            connection.request("POST", "/next", json.dumps({"text": texts[k]}))
            reply = connection.getresponse()
            found = json.loads(reply.read())
            latencies.append(time.perf_counter() - begun)
            if reply.status != 200 or not is_right(found["words"], expected[k]):
                wrong.append((texts[k], found))
        connection.close()

    threads = [threading.Thread(target=client, args=(i,)) for i in range(n_threads)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(latencies) != n_requests:
        raise RuntimeError(f"only {len(latencies)} of {n_requests} were answered")
    return wrong, np.array(latencies), time.perf_counter() - begun


def measure(predict, vocabulary, n_requests, n_threads):
    """Run a server and ask it; print and return the figures."""
    texts = make_requests(vocabulary, min(500, n_requests))
    expected = [answer(predict, vocabulary, {"text": t})["words"] for t in texts]
    with server(predict, vocabulary) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        wrong, latencies, seconds = ask_all(
            running.server_port, texts, expected, n_requests, n_threads
        )
        running.shutdown()
    middle, late = 1000 * np.percentile(latencies, [50, 99])
    print(f"{n_requests} requests from {n_threads} threads: {len(wrong)} wrong answers")
    print(
        f"{n_requests / seconds:.0f} requests/s, latency {middle:.1f} ms, "
        f"99 % within {late:.1f} ms"
    )
    return wrong


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter
    )
    number = command_line.number
    add = parser.add_argument
    add("--model", "-m", default="result/serve/model.npz", help="made if it is missing")
    add("--requests", "-n", type=number(int, 1), default=10000, help="to ask in all")
    add("--threads", "-t", type=number(int, 1), default=16, help="that ask")
    add("--test", action="store_true", help="a tiny run of a few seconds")
    args = parser.parse_args()
    path = Path(args.model)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        dyrnn.random.seed(0)
        train(path, *((50, 8, 3) if args.test else (10000, 200, 100)))
    model, vocabulary = load(path)
    n_requests = 200 if args.test else args.requests
    predict = dyrnn.Predictor(model, "next_word")
    if measure(predict, vocabulary, n_requests, args.threads):
        raise SystemExit(1)


if __name__ == "__main__":
    command_line.run(main)
