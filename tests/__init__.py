"""The tests. A package of its own name: torch-fidelity installs another one that is called so."""
