"""The Python interface: every verb of the command line as a function, and a run to look at in a notebook."""
