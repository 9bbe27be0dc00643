"""Rule report_index: the overview of all studies."""

import argparse

from palimpsest.jobs import report_index

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", required=True, help="database to read")
    parser.add_argument("--output", required=True, help="page to write")
    arguments = parser.parse_args()
    report_index(arguments.database, arguments.output)
