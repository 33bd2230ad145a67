"""The data for training and evaluation: prompts and image sets."""
