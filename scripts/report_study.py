"""Rule report_study: the page of one study."""

import argparse

from palimpsest.jobs import report_study

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", required=True, help="database to read")
    parser.add_argument("--study", required=True, help="study")
    parser.add_argument("--output", required=True, help="page to write")
    arguments = parser.parse_args()
    report_study(arguments.database, arguments.study, arguments.output)
