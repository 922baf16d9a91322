"""All rows: those of the files ``table_TOPIC.py`` beside this one."""

import importlib
from pathlib import Path

TOPICS = sorted(path.stem for path in Path(__file__).parent.glob("table_*.py"))
CASES = [
    case
    for topic in TOPICS
    for case in importlib.import_module(f"tests.functions.{topic}").CASES
]
