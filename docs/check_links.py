"""Say which links and pictures of a site lead nowhere: ``check_links.py FOLDER``."""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The targets and the anchors of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = set(), {"", "top"}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        """Collect what an element points to, and its name."""
        for key, value in attrs:
            if key in ("href", "src") and value:
                self.links.add(value)
            elif key in ("id", "name") and value:
                self.anchors.add(value)


def dead_links(folder):
    """Yield ``(page, link)`` of each link within the site whose target is not there."""
    pages = {path.resolve(): Page(path) for path in Path(folder).rglob("*.html")}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not file.exists() or (
                file in pages and anchor not in pages[file].anchors
            ):
                yield path, link


if __name__ == "__main__":
    found = sorted(dead_links(sys.argv[1]))
    for path, link in found:
        print(f"{path}: {link} leads nowhere")
    sys.exit(bool(found))
