"""A verification record for people: a page that stands alone, and a comment."""

from converters.parity.page.document import need_extras, render_html
from converters.parity.page.markdown import render_markdown
from converters.parity.page.pictures import Picture

__all__ = ["Picture", "need_extras", "render_html", "render_markdown"]
