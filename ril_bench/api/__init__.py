"""The Python interface: a function for each verb of the command line, and the class `Run`."""
