"""Power-law rehearsal: does an environment in which old tasks return protect memory by itself?"""
