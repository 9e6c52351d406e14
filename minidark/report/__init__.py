"""Self-contained HTML pages: one file each, offline, for phones, print and dark mode.

`pages.py` renders a page from the templates beside it, `figures.py` draws its figures. Both need
the extra `report`, which is imported only when a page is made.
"""
