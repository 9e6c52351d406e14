"""Self-contained HTML pages: one file each, without a network, on a phone, in print, in the dark.

`pages.py` renders one from the templates beside it, `figures.py` draws into it. Both need the
extra `report`, which is imported when a page is made and not before.
"""
