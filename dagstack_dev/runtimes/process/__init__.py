"""Plugins that live in a process of their own: `execution_model = "process_cpu_bound"`."""
