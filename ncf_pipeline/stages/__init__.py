"""What the DAGs and the command line run: each stage is a function of settings and references."""
