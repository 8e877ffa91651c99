"""Bad inputs by the hundred, and what must be true after each of them."""
