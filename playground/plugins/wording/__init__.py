"""Words that several plugins use. No plugin itself: it has no dagstack.toml."""
