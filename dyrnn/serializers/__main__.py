"""Show what a snapshot holds: ``python -m dyrnn.serializers FILE``.

Only the manifest is read, unless ``--verify`` asks for every byte to be checked. What
the file says is printed as JSON, so its text cannot send commands to a terminal.
"""

import argparse
import json
import sys

from dyrnn.errors import SnapshotError
from dyrnn.serializers.manifest import encode_value
from dyrnn.serializers.npz import read_manifest, verify_npz

_LONGEST = 100  # characters of a value, unless --json asks for all


def main(arguments=None):
    """Print the manifest; return 0, or 1 for a file that is not a sound snapshot."""
    parser = argparse.ArgumentParser(prog="python -m dyrnn.serializers")
    parser.description = "Print what a snapshot of dyrnn holds."
    parser.add_argument("file")
    parser.add_argument("--verify", action="store_true", help="check every byte")
    parser.add_argument("--json", action="store_true", help="the whole manifest")
    options = parser.parse_args(arguments)
    try:
        read = verify_npz if options.verify else read_manifest
        manifest = read(options.file)
    except (SnapshotError, OSError) as error:
        print(ascii(str(error))[1:-1], file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(encode_value(manifest), indent=1))
        return 0
    for line in _lines(manifest):
        print(line)
    if options.verify:
        print("every byte is as the manifest says")
    return 0


def _lines(manifest):
    """Yield the manifest as text for people, long values cut short."""
    yield f"{manifest['format']}, version {manifest['version']}"
    for section in ("environment", "metadata", "values"):
        yield f"{section}:"
        for key, value in manifest[section].items():
            yield f"  {_text(key)}: {_short(value)}"
    arrays = manifest["arrays"]
    total = sum(entry["size"] for entry in arrays.values())
    yield f"arrays: {len(arrays)}, {total} bytes"
    for key, entry in arrays.items():
        shape = tuple(entry["shape"])
        yield f"  {_text(key)}: {entry['dtype']} {shape} sha256 {entry['sha256'][:16]}"


def _text(key):
    return json.dumps(key)[1:-1]


def _short(value):
    text = json.dumps(encode_value(value))
    if len(text) <= _LONGEST:
        return text
    count = f" ({len(value)} items)" if isinstance(value, list | dict) else ""
    return f"{text[:_LONGEST]}...{count}"


if __name__ == "__main__":
    sys.exit(main())
