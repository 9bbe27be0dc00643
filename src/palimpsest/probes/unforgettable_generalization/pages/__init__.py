"""Tables and words of the page."""
