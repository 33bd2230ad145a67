"""Entries: runs that are submitted, checked without being trusted, and shown on one page.

`layout` names the files of entries and `entry` reads them; `submit` writes entries from runs; `safety`, `rules` and
`resample` check them, and `check` calls these; `board` collects valid entries for the page.
"""
