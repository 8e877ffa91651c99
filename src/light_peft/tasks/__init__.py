"""What a task asks of a model: how examples become inputs, and outputs become answers."""
