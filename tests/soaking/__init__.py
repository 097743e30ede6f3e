"""Random work on a plugin tree, and the proof that reloading it equals restarting.

`generate` makes steps from a seed, `run` carries them out below a dev server, and at every quiet
point what runs is compared with a cold start of the same files in a fresh process.
"""
