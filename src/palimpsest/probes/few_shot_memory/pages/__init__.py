"""Tables and words of the page of few-shot memory."""
