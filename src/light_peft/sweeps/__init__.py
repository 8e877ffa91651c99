"""Many runs that belong together: what was asked for, what became of it, and what is left to do."""
