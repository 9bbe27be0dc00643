"""Unforgettable generalization: does forgetting reach what was never trained on?"""
