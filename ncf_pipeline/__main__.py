"""The entry point of the command, also as `python -m ncf_pipeline`, which torchrun needs."""

import sys

from ncf_pipeline import __version__


def main() -> None:
    """Runs the command line. If a package is not installed, prints one line that says how to install it."""
    if sys.argv[1:] == ["--version"]:  # also where only the storefront client is installed
        sys.stdout.write(f"{__version__}\n")
        return
    try:
        from ncf_pipeline.cli import main as run

        run()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("", "ncf_pipeline"):
            raise
        from ncf_pipeline.extras import missing

        sys.stderr.write(f"Error: {missing(error.name or '')}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
