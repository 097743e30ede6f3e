"""From what comes in to reloads.

Read in this order: `inbox` (what comes in), `loop` (takes it in and begins a reload), `collect`
(what has changed on disk), `revisions` and `state` (what there is to run, what runs, what has
failed), `reconciler` (compares, plans, carries out, records), `reports` (what is rejected and
fixed). Beside the way: `preemption`, `retry`, `shared` (code that plugins share), `configuration`.
"""
