"""method.yaml to fill in: `ril-bench submit --template`."""

TEMPLATE = """\
# Who made this method, and how it was tuned: one file for each method, submitted with its runs.
# Empty values must be filled in; ril-bench submit RUN --method-yaml FILE --dry-run lists what is missing.

authors: []         # [Ada Author, Ben Builder]
paper: null         # https://arxiv.org/abs/..., or null
code: null          # https://..., or null
licence: ""         # of the method's code: Apache-2.0, MIT, ...
description: ""     # what the method does, in one line
oracle: false       # true if it uses what reward incremental learning forbids: older rewards, all tasks at once
seeds: 10           # 10: seeds 0 to 9 are submitted; a further order or sequence may have fewer, 0 to 2 at least
trials:
  tuned: 0          # runs that chose its options, on any sequence
  private: 0        # other runs on the submitted sequences that are not submitted
  how: ""           # how the options were chosen: ril-bench tune, six strengths, two seeds each; or: nothing to tune
"""
