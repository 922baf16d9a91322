"""State on disk: snapshots that survive a crash, and files that may be damaged.

``npz.py`` has the two functions most programs need, ``protocol.py`` what ``serialize``
methods see. Below them, ``writer.py`` and ``reader.py`` turn contents into a file and
back, on top of ``atomic.py`` (durable writing), ``archive.py`` and ``manifest.py`` (the
format). ``retention.py`` and ``background.py`` care for folders full of snapshots.
"""

from dyrnn.serializers.background import BackgroundWriter
from dyrnn.serializers.manifest import NewerVersionError
from dyrnn.serializers.npz import load_npz, read_manifest, save_npz, verify_npz
from dyrnn.serializers.origin import environment
from dyrnn.serializers.protocol import Loader, Saver, Serializer, capture
from dyrnn.serializers.reader import SnapshotReader
from dyrnn.serializers.retention import (
    Snapshot,
    list_snapshots,
    newest_valid,
    prune,
    remove_leftovers,
    rename_aside,
    set_later_aside,
)
from dyrnn.serializers.writer import Contents, write_snapshot
