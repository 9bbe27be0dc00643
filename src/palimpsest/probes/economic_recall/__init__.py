"""Economic recall: which numbers, dates and names does a model remember, and from when?"""
