"""How the database came to its present form: `pre` migrations add, `post` ones remove, so that two releases can run side by side."""
