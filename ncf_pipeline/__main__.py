"""The entry point of the command, also as `python -m ncf_pipeline`, which torchrun needs."""

import sys


def main() -> None:
    """Runs the command line. If a package is not installed, prints one line that says how to install it."""
    try:
        from ncf_pipeline.cli import main as run

        run()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "ncf_pipeline":
            raise
        sys.stderr.write(
            f"Error: {error.name} is not installed. For commands, install ncf-pipeline[pipeline]; for embedded "
            "servers, ncf-pipeline[airflow,local]. Only the storefront client needs no extra.\n"
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
