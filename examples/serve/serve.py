"""Serve a language model over HTTP: which words are likely to follow these?

    curl -d '{"text": "the value of"}' http://127.0.0.1:8000/next

Without --model, one is trained on Python's documentation first, for a few seconds, and
saved. A request has a thread of its own; all of them share the model's parameters, and
each call has a state of its own.
"""

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import command_line, datasets, iterators, optimizers, serializers, training

LONGEST = 1000  # words of a request
BEST = 5  # words of an answer


class LanguageModel(dyrnn.Chain):
    def __init__(self, n_vocab, units, layers=2):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(n_vocab, units)
            self.layers = dyrnn.ChainList(
                *[L.LSTM(units, units) for _ in range(layers)]
            )
            self.out = L.Linear(units, n_vocab)

    def hidden(self, x):
        h = self.embed(x)
        for layer in self.layers:
            h = layer(h)
        return h

    def forward(self, x, t):
        return F.softmax_cross_entropy(self.out(self.hidden(x)), t)

    def next_word(self, x):
        """Return the probabilities (B, V) of what follows ids (T, B)."""
        return F.softmax(self.out(self.hidden(x)[-1]))


def train(path, words, units, updates):
    """Train on Python's documentation and save the model with its vocabulary."""
    text = datasets.python_text()
    vocabulary = datasets.Vocabulary.from_text(text, size=words, unk=True)
    model = LanguageModel(len(vocabulary), units)
    optimizer = optimizers.Adam(0.002).setup(model)
    optimizer.add_hook(dyrnn.optimizer_hooks.GradientClipping(5.0))
    iterator = iterators.WindowIterator(vocabulary.encode(text), 16, 20)
    updater = training.BPTTUpdater(iterator, optimizer)
    training.Trainer(updater, (updates, "iteration"), Path(path).parent).run()
    about = {"vocabulary": vocabulary.to_json(), "units": units}
    serializers.save_npz(path, model, metadata=about)


def load(path):
    """Return the model and the vocabulary of a file that `train` wrote."""
    about = serializers.read_manifest(path)["metadata"]
    if not {"vocabulary", "units"} <= about.keys():
        raise ValueError(f"{path} is not a model that serve.py saved")
    vocabulary = datasets.Vocabulary.from_json(about["vocabulary"])
    model = LanguageModel(len(vocabulary), about["units"])
    serializers.load_npz(path, model)
    return model, vocabulary


def answer(predict, vocabulary, request):
    """Return the likeliest next words of a request, and their probabilities."""
    if not isinstance(request, dict) or not isinstance(request.get("text"), str):
        raise ValueError('a request is JSON: {"text": "the value of"}')
    ids = vocabulary.encode(request["text"])
    if not 0 < len(ids) <= LONGEST:
        raise ValueError(f"the text has {len(ids)} words; 1 to {LONGEST} can be read")
    (p,) = predict(ids[:, None])
    best = np.argpartition(-p, BEST)[:BEST]
    best = best[np.argsort(-p[best], kind="stable")]
    return {"words": [[vocabulary.words[i], float(p[i])] for i in best.tolist()]}


def server(predict, vocabulary, port=0):
    """Return a server that answers POST /next, not yet running."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # a connection serves many requests
        disable_nagle_algorithm = True
        timeout = 60

        def do_POST(self):
            try:
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(min(length, 1 << 20))
                if self.path != "/next":
                    self.reply(404, {"error": "POST to /next"})
                    return
                self.reply(200, answer(predict, vocabulary, json.loads(body)))
            except ValueError as error:
                self.reply(400, {"error": str(error)})

        def reply(self, code, content):
            body = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            """Print nothing for each request."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    return Server(("127.0.0.1", port), Handler)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter
    )
    number = command_line.number
    add = parser.add_argument
    add("--model", "-m", default="result/serve/model.npz", help="made if it is missing")
    add("--port", "-p", type=number(int, 0, 65535), default=8000, help="to listen on")
    add("--words", type=number(int, 10), default=10000, help="of a model to train")
    add("--unit", "-u", type=number(int, 1), default=200, help="of a model to train")
    add("--updates", type=number(int, 1), default=100, help="of a model to train")
    args = parser.parse_args()
    path = Path(args.model)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        dyrnn.random.seed(0)
        print(f"training {path} ...", flush=True)
        train(path, args.words, args.unit, args.updates)
    model, vocabulary = load(path)
    with server(dyrnn.Predictor(model, "next_word"), vocabulary, args.port) as running:
        print(f"http://127.0.0.1:{running.server_port}/next", flush=True)
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            print("stopped")


if __name__ == "__main__":
    command_line.run(main)
