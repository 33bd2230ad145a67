"""Definitions of all metrics on arrays and tables; no module here loads a model or a file.

`continual` and `anytime` take rewards; `frechet`, `kernel` and `diversity` take features of images; `structure` and
`edges` take images; `statistics` takes the values of several runs. This module imports nothing, so `continual` works
without torch.
"""
