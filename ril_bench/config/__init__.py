"""Text to typed settings: YAML with line numbers, validation, options of methods and tuners."""
