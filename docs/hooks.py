"""What mkdocs does with every page: papers that it names are linked."""

from typing import Any

from maskwise.papers import with_paper_links


def on_page_markdown(markdown: str, **_: Any) -> str:
    return with_paper_links(markdown)
