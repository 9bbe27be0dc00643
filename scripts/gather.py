"""Rule gather: all evidence into one database."""

import argparse

from palimpsest.jobs import gather

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", required=True, help="what to read")
    parser.add_argument("--output", required=True, help="database to write")
    parser.add_argument("--allow-missing", action="store_true", help="mark what is missing")
    arguments = parser.parse_args()
    gather(arguments.manifest, arguments.output, allow_missing=arguments.allow_missing)
