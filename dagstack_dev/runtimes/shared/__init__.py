"""Code that plugins share: who imports whom, which of it runs, and what changes of it reach.

import statements ──▶ import_hooks ──▶ observer ──▶ imports    who imports whom
roots ──▶ root_finder ──▶ modules                              which of it runs, and from what
              adoption ─────▲                                  what others had loaded already
shared_code                                                    the door to all of these
change                                                         new content: in force, or taken back
registrations                                                  what an import puts elsewhere
"""
