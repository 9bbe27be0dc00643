"""Rule intervene: apply one intervention and save the state's checkpoints."""

import argparse

from palimpsest.jobs import intervene

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", required=True, help="what to do")
    parser.add_argument("--output", required=True, help="state.json to write")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads granted")
    parser.add_argument("--gpu", type=int, default=0, help="GPUs granted")
    arguments = parser.parse_args()
    intervene(arguments.manifest, arguments.output, arguments.threads, arguments.gpu)
