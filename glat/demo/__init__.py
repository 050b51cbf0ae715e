"""`glat demo`: a page to try a model with sounds of one's own.

`server` serves the page and answers it with what `answer` makes of a sound; `page/` is what runs in the browser. The
standard library's HTTP server is enough for one page and two requests, so there is nothing to install.
"""
