"""A probe to copy: is a sentence likelier than the same words in random order?"""
