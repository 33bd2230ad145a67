"""Entries: runs that are handed in, checked without being trusted, and shown on one page.

`layout` says where files lie, `entry` what they hold; `submit` makes entries of runs; `safety`, `checks`, `figures`
and `resample` decide whether one stands; `check` brings them together; `board` gathers entries for the page.
"""
