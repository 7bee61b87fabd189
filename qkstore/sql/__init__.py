"""What a person typed, made safe (guard) and run apart (worker)."""
