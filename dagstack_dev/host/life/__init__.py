"""One instance of a plugin, from setup to teardown, with all that it owns."""
