"""A masker and its classifier as a folder of static files that runs in a browser, without a server of ours."""

from maskwise.static_page.page import PageWritten, export_page

__all__ = ["PageWritten", "export_page"]
