"""How what runs is changed: one plugin at a time, and by plans that commit or roll back."""
