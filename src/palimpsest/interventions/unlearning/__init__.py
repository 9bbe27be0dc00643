"""Methods of unlearning: one file each; ``_base`` says what a method is."""
