"""What a sequence says: its spec, presets, and the folder of its model."""
