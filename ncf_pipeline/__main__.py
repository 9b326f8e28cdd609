"""`python -m ncf_pipeline` is `ncf-pipeline`; so that torchrun can start it."""

from ncf_pipeline.cli import main

if __name__ == "__main__":
    main()
