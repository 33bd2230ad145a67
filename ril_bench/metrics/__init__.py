"""The figures of a run, from arrays and tables alone: no model is known here.

`continual` and `anytime` read rewards; `frechet`, `kernel` and `diversity` read features, `structure` and `edges`
images; `statistics` reads what several runs gave. Nothing is imported here, so that the continual figures come
without torch.
"""
