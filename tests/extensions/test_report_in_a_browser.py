"""The page about runs, as a browser draws it: no message, nothing cut off."""

import html
import json
import re
import shutil
import struct
import subprocess
import zlib

import pytest

from dyrnn.extensions.report import render

NAMES = "chromium", "chromium-browser", "google-chrome", "chrome"
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")

# Both pages stand in frames, wide and narrow, and tell what a reader would see.
LOOK = """
<body>%s<pre id="found"></pre><script>
addEventListener("load", () => {
  const seen = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, root = page.documentElement
    const all = name => [...page.querySelectorAll(name)]
    const box = node => node.getBoundingClientRect()
    return {
      over: root.scrollWidth - root.clientWidth,
      pictures: all("img").map(image => image.complete && image.naturalWidth),
      lines: all("polyline").map(line => {
        const [inner, outer] = [box(line), box(line.closest("svg"))]
        return inner.width > 50 && inner.left >= outer.left && inner.top >= outer.top
          && inner.right <= outer.right && inner.bottom <= outer.bottom
      }),
      color: getComputedStyle(page.body).color,
    }
  })
  document.getElementById("found").textContent = JSON.stringify(seen)
})
</script></body>
"""


def picture(width, height):
    """Return a grey PNG."""

    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x80" * width) * height)
    parts = (b"IHDR", head), (b"IDAT", rows), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def leave_a_run(folder):
    """Write what a training leaves in its directory."""
    folder.mkdir()
    names = [f"main/layer{i}/gradient" for i in range(9)]
    rows = [
        {"main/loss": 1 / i, "<odd>": i, **dict.fromkeys(names, i / 7)}
        | {"epoch": i, "iteration": 10 * i, "elapsed_time": 0.5 * i}
        for i in range(1, 20)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "log.jsonl").write_text(text)
    (folder / "plot.png").write_bytes(picture(900, 400))
    (folder / "sample.txt").write_text("<script>alert(1)</script> " + "word " * 300)
    settings = {"arguments": {"data": "/a/long/path" * 20, "out": str(folder)}}
    (folder / "config.json").write_text(json.dumps(settings))


def look_at(page, folder):
    """Return what a browser found on a page, and the messages of its console."""
    frames = "".join(
        f'<iframe width="{width}" height="700" srcdoc="{html.escape(page)}"></iframe>'
        for width in (1200, 360)
    )
    path = folder / "look.html"
    path.write_text('<link rel="icon" href="data:,">' + LOOK % frames, "utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}"]
    done = subprocess.run(
        [*command, path.as_uri()], capture_output=True, text=True, timeout=120
    )
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    messages = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(html.unescape(found[1])), messages


def test_a_browser_draws_all_of_the_page_and_has_nothing_to_say(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        leave_a_run(folder)
    found, messages = look_at(render(folders), tmp_path)
    assert messages == []
    for seen in found:
        assert seen["over"] <= 0
        assert seen["pictures"] == [900, 900]
        assert len(seen["lines"]) == 22 and all(seen["lines"])


def test_a_page_with_faults_is_found_out(tmp_path):
    page = '<img src="data:,no"><p style="width: 2000px">x<script>none()</script>'
    found, messages = look_at(page, tmp_path)
    assert len(messages) == 2 and "none is not defined" in messages[0]
    assert [seen["over"] > 0 for seen in found] == [True, True]
    assert [seen["pictures"] for seen in found] == [[0], [0]]
