"""What a model is trained and evaluated on: prompts and image sets."""
