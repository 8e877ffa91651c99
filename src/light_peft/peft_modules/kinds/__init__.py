"""One file per PEFT kind, each with a `KIND`; HF peft does the work where it can."""
