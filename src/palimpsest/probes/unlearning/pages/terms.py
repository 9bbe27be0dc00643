"""What the words of the page mean, for its glossary."""

TERMS = {
    "arm": "method that the models went through; taught: before any method; retrained: models that "
    "never knew what was to be forgotten",
    "benign": "probability of forgotten facts after a few updates on facts that must stay: what "
    "comes back although nobody teaches it",
    "bits": "as in bits 4: the same probability with weights rounded to so many bits; of exposure "
    "the unit",
    "exposure": "how far up the truth ranks among possible answers, in bits: log2 of their number "
    "minus log2 of its rank; 0: last of all",
    "extraction strength": "how much of the answer follows by itself from its beginning: the "
    "larger, the shorter a beginning is enough",
    "linear probe": "accuracy of a linear classifier that reads the answer from hidden states",
    "logit lens": "probability of the answer where a layer inside is read as if it were the last",
    "loss by reference": "loss minus that of models that never knew: what is easy anyway is no "
    "sign of membership",
    "loss by zlib": "loss divided by the length of the text as zlib compresses it",
    "membership": "area under the curve by which a score tells the forget set from facts that "
    "nobody was told; 0.5 tells nothing",
    "min-k": "score of membership: mean log probability of the least probable tokens",
    "min-k++": "min-k with each token's log probability standardised by what the model gives to "
    "all tokens in its place",
    "nats": "unit of a loss with natural logarithms; 1 nat more is a probability 2.7 times lower",
    "truth ratio": "mean probability of wrong answers over that of the true one",
    "way gone": "share of the way from taught models (0) to models that never knew (1)",
}
