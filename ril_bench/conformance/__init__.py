"""The checks of `ril-bench check`: whether a method, a tuner, a reward or a sequence fits."""
