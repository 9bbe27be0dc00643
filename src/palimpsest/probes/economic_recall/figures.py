"""Page of economic recall."""
