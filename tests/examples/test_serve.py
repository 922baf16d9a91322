"""The server answers many threads rightly, and what is no request with a reason."""

import http.client
import json
import threading

import pytest

import dyrnn
from tests.examples.running import load, run


def test_every_answer_is_right(tmp_path):
    text = run("serve/ask.py", "--test", cwd=tmp_path)
    assert "200 requests from 16 threads: 0 wrong answers" in text


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    serve = load("serve/serve.py")
    path = tmp_path_factory.mktemp("serve") / "model.npz"
    serve.train(path, 30, 4, 1)
    model, vocabulary = serve.load(path)
    with serve.server(dyrnn.Predictor(model, "next_word"), vocabulary) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running.server_port
        running.shutdown()


@pytest.mark.parametrize(
    ("path", "body", "status", "word"),
    [
        ("/next", '{"text": "the"}', 200, "words"),
        ("/next", '{"text": ""}', 400, "0 words"),
        ("/next", '{"text": 3}', 400, "a request is JSON"),
        ("/next", "no json", 400, "Expecting value"),
        ("/other", "{}", 404, "POST to /next"),
    ],
)
def test_a_request_is_answered_or_told_what_is_wrong(port, path, body, status, word):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", path, body)
    reply = connection.getresponse()
    content = reply.read().decode()
    assert reply.status == status and word in content
    assert status != 200 or len(json.loads(content)["words"]) == 5
    connection.close()
