"""Serves the dev page: the API's face for a browser, for the owner of the server alone."""
