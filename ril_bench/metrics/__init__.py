"""The figures of a run, from arrays and tables alone: no model is known here.

`continual` reads the reward matrix, `frechet` and `structure` read features and pictures, `statistics` reads
what several runs gave. Nothing is imported here, so that the continual figures come without torch.
"""
