"""Turns text into typed settings: YAML with line numbers, validation, options of classes."""
