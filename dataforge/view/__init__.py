"""View: a page on this machine to browse a run, look at each trace as its conversation, and mark what to keep or drop.

`server` answers the browser, `index` lists a run without holding it, `lines` and `query` say what is listed, `pages`
and `pictures` make what is shown. Style and script lie beside them as plain files; nothing comes from outside.
"""

from dataforge.view.server import serve

__all__ = ["serve"]
