"""What the event loop and its threads do: tasks, limits in running time, stacks, what blocks."""
