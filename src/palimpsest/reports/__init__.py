"""Reports: pages built from the database alone."""
