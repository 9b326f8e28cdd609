"""The command's entry point, also as `python -m ncf_pipeline`, so that torchrun can start it."""

import sys


def main() -> None:
    """Runs the command line; one line where a package that the command needs is not installed."""
    try:
        from ncf_pipeline.cli import main as run

        run()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "ncf_pipeline":
            raise
        sys.stderr.write(
            f"Error: {error.name} is not installed. A storefront's client needs this package alone; for commands "
            "install ncf-pipeline[pipeline], and with embedded servers ncf-pipeline[airflow,local].\n"
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
