"""Recognition, recall and retention of sentences that were seen a few times."""
