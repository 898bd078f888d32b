"""Every use of a private name of a dependency, a file for each; tests hold them."""
