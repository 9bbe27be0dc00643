"""Rule prepare_model: convert, fetch or check a model once."""

import argparse

from palimpsest.jobs import prepare_model

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", required=True, help="what to prepare")
    parser.add_argument("--output", required=True, help="model.json to write")
    arguments = parser.parse_args()
    prepare_model(arguments.manifest, arguments.output)
